"""What a structure is in the words of SNOMED CT, by its name: for DICOM, whose readers look at codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["AnatomicalCode", "anatomical_code"]

Side = Literal["left", "right"]


@dataclass(frozen=True)
class AnatomicalCode:
    """A concept of SNOMED CT, what kind of thing it is, and on which side of the patient."""

    value: str
    meaning: str
    abnormal: bool = False  # a finding (a nodule), and no part of the body
    side: Side | None = None


# Of the structures of the known datasets, and of those that people most often segment, under the names that nnU-Net's
# tasks and TotalSegmentator give them: as pydicom's dictionary has them, but for the two veins as one, which is the
# scheme's own combined site. Sides are told apart from the name. What means several things ('ventricle') is left out.
CODES = {
    name: AnatomicalCode(value, meaning, abnormal)
    for names, value, meaning, abnormal in (
        (("spleen",), "78961009", "Spleen", False),
        (("kidney",), "64033007", "Kidney", False),
        (("gallbladder", "gall bladder"), "28231008", "Gallbladder", False),
        (("esophagus", "oesophagus"), "32849002", "Esophagus", False),
        (("liver",), "10200004", "Liver", False),
        (("stomach",), "69695003", "Stomach", False),
        (("aorta",), "15825003", "Aorta", False),
        (("inferior vena cava", "ivc"), "64131007", "Inferior vena cava", False),
        (
            ("portal and splenic vein", "portal vein and splenic vein"),
            "110765007",
            "Portal vein and splenic vein (combined site)",
            False,
        ),
        (("portal vein",), "32764006", "Portal vein", False),
        (("splenic vein",), "35819009", "Splenic vein", False),
        (("pancreas",), "15776009", "Pancreas", False),
        (("adrenal", "adrenal gland"), "23451007", "Adrenal gland", False),
        (("duodenum",), "38848004", "Duodenum", False),
        (("small intestine", "small bowel"), "30315005", "Small intestine", False),
        (("colon",), "71854001", "Colon", False),
        (("rectum",), "34402009", "Rectum", False),
        (("bladder", "urinary bladder"), "89837001", "Bladder", False),
        (("prostate",), "41216001", "Prostate", False),
        (("uterus",), "35039007", "Uterus", False),
        (("lung", "lungs"), "39607008", "Lung", False),
        (("trachea",), "44567001", "Trachea", False),
        (("heart",), "80891009", "Heart", False),
        (("left ventricle",), "87878005", "Left ventricle", False),
        (("right ventricle",), "53085002", "Right ventricle", False),
        (("left atrium",), "82471001", "Left atrium", False),
        (("pulmonary artery",), "81040000", "Pulmonary artery", False),
        (("thyroid", "thyroid gland"), "69748006", "Thyroid", False),
        (("brain",), "12738006", "Brain", False),
        (("brainstem", "brain stem"), "119238007", "Brain Stem", False),
        (("cerebellum",), "113305005", "Cerebellum", False),
        (("hippocampus",), "5366008", "Hippocampus", False),
        (("lateral ventricle", "lateral ventricles"), "66720007", "Lateral Ventricle", False),
        (("spinal cord",), "2748008", "Spinal cord", False),
        (("femur",), "71341001", "Femur", False),
        (("tibia",), "12611008", "Tibia", False),
        (("fibula",), "87342007", "Fibula", False),
        (("patella",), "64234005", "Patella", False),
        (("humerus",), "85050009", "Humerus", False),
        (("scapula",), "79601000", "Scapula", False),
        (("clavicle", "clavicula"), "51299004", "Clavicle", False),
        (("sternum",), "56873002", "Sternum", False),
        (("sacrum",), "54735007", "Sacrum", False),
        (("vertebra", "vertebrae"), "51282000", "Vertebra", False),
        (("mandible",), "91609006", "Mandible", False),
        (("skull",), "89546000", "Skull", False),
        (("bone", "bones"), "272673000", "Bone", False),
        (("cartilage",), "309312004", "Cartilage", False),
        (("meniscus",), "74135004", "Meniscus", False),
        (("breast",), "76752008", "Breast", False),
        (("lymph node", "lymph nodes"), "59441001", "Lymph Node", False),
        (("retina",), "5665001", "Retina", False),
        (("tooth", "teeth"), "38199008", "Tooth", False),
        (("organ", "organs"), "91772007", "Organ", False),
        (("polyp",), "68496003", "Polyp of colon", True),
        (("nodule",), "27925004", "Nodule", True),
        (("lesion",), "52988006", "Lesion", True),
        (("cyst",), "367643001", "Cyst", True),
        (("edema", "oedema"), "79654002", "Edema", True),
        (("hemorrhage", "haemorrhage"), "50960005", "Hemorrhage", True),
        (("tumor", "tumour"), "108369006", "Neoplasm", True),
    )
    for name in names
}


def anatomical_code(name: str) -> AnatomicalCode | None:
    """The code of a structure of this name, 'left kidney' or 'kidney_left'; None where none is known."""
    words = name.lower().replace("_", " ").split()
    if (whole := CODES.get(" ".join(words))) is not None:  # the left ventricle is a concept of its own
        return whole
    sides = [word for word in words if word in ("left", "right")]
    known = CODES.get(" ".join(word for word in words if word not in sides))
    if known is None or len(sides) > 1:
        return None
    side: Side | None = ("left" if sides[0] == "left" else "right") if sides else None
    return AnatomicalCode(known.value, known.meaning, known.abnormal, side)

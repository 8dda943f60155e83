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


# Of the structures of the known datasets that the scheme has a concept for: as pydicom's dictionary has them, but for
# the two veins as one, which is the scheme's own combined site. Sides are told apart from the name.
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
        (("tooth", "teeth"), "38199008", "Tooth", False),
        (("organ", "organs"), "91772007", "Organ", False),
        (("polyp",), "68496003", "Polyp of colon", True),
        (("nodule",), "27925004", "Nodule", True),
        (("lesion",), "52988006", "Lesion", True),
        (("tumor", "tumour"), "108369006", "Neoplasm", True),
    )
    for name in names
}


def anatomical_code(name: str) -> AnatomicalCode | None:
    """The code of a structure of this name, 'left kidney' or 'kidney_left'; None where none is known."""
    words = name.lower().replace("_", " ").split()
    sides = [word for word in words if word in ("left", "right")]
    known = CODES.get(" ".join(word for word in words if word not in sides))
    if known is None or len(sides) > 1:
        return None
    side: Side | None = ("left" if sides[0] == "left" else "right") if sides else None
    return AnatomicalCode(known.value, known.meaning, known.abnormal, side)

"""What a segmentation object takes over from its series: who was imaged, in which study and which clinical trial."""

from __future__ import annotations

from pydicom import DataElement, Dataset
from pydicom.errors import BytesLengthException
from pydicom.valuerep import PersonName

__all__ = ["copy_patient_and_study", "drop_unreadable"]

# Attributes of the modules of patient and study, by which an object belongs to them, at the top level, without retired
# ones: DICOM PS3.3, tables C.7-1, C.7-2b, C.7-3, C.7-4a and C.7-4b.
MODULES = {
    "Patient": """
        ReferencedPatientSequence PatientName PatientID IssuerOfPatientID TypeOfPatientID
        IssuerOfPatientIDQualifiersSequence SourcePatientGroupIdentificationSequence
        GroupOfPatientsIdentificationSequence PatientBirthDate PatientBirthTime
        PatientBirthDateInAlternativeCalendar PatientDeathDateInAlternativeCalendar PatientAlternativeCalendar
        PatientSex QualityControlSubject StrainDescription StrainNomenclature StrainStockSequence
        StrainAdditionalInformation StrainCodeSequence GeneticModificationsSequence OtherPatientNames
        OtherPatientIDsSequence ReferencedPatientPhotoSequence EthnicGroupCodeSequence PatientSpeciesDescription
        PatientSpeciesCodeSequence PatientBreedDescription PatientBreedCodeSequence BreedRegistrationSequence
        ResponsiblePerson ResponsiblePersonRole ResponsibleOrganization PatientComments PatientIdentityRemoved
        DeidentificationMethod DeidentificationMethodCodeSequence
    """,
    "Clinical Trial Subject": """
        ClinicalTrialSponsorName ClinicalTrialProtocolID ClinicalTrialProtocolName
        IssuerOfClinicalTrialProtocolID OtherClinicalTrialProtocolIDsSequence ClinicalTrialSiteID
        ClinicalTrialSiteName IssuerOfClinicalTrialSiteID ClinicalTrialSubjectID IssuerOfClinicalTrialSubjectID
        ClinicalTrialSubjectReadingID IssuerOfClinicalTrialSubjectReadingID
        ClinicalTrialProtocolEthicsCommitteeName ClinicalTrialProtocolEthicsCommitteeApprovalNumber
    """,
    "General Study": """
        StudyDate StudyTime AccessionNumber IssuerOfAccessionNumberSequence ReferringPhysicianName
        ReferringPhysicianIdentificationSequence ConsultingPhysicianName
        ConsultingPhysicianIdentificationSequence StudyDescription ProcedureCodeSequence PhysiciansOfRecord
        PhysiciansOfRecordIdentificationSequence NameOfPhysiciansReadingStudy
        PhysiciansReadingStudyIdentificationSequence ReferencedStudySequence StudyInstanceUID StudyID
        RequestingService RequestingServiceCodeSequence ReasonForPerformedProcedureCodeSequence
    """,
    "Patient Study": """
        AdmittingDiagnosesDescription AdmittingDiagnosesCodeSequence PatientAge PatientSize
        PatientSizeCodeSequence PatientBodyMassIndex MeasuredAPDimension MeasuredLateralDimension PatientWeight
        MedicalAlerts Allergies Occupation SmokingStatus AdditionalPatientHistory PregnancyStatus
        LastMenstrualDate PatientSexNeutered ReasonForVisit ReasonForVisitCodeSequence AdmissionID
        IssuerOfAdmissionIDSequence ServiceEpisodeID ServiceEpisodeDescription IssuerOfServiceEpisodeIDSequence
        PatientState
    """,
    "Clinical Trial Study": """
        ClinicalTrialTimePointID ClinicalTrialTimePointDescription LongitudinalTemporalOffsetFromEvent
        LongitudinalTemporalEventType ClinicalTrialTimePointTypeCodeSequence IssuerOfClinicalTrialTimePointID
        ConsentForClinicalTrialUseSequence
    """,
}
KEYWORDS = tuple(keyword for keywords in MODULES.values() for keyword in keywords.split())
# Of these an object has at least an empty one, as of its frame of reference, which its slices lie in.
REQUIRED = (
    *("StudyInstanceUID", "StudyID", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"),
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("FrameOfReferenceUID", "PositionReferenceIndicator"),
)


def copy_patient_and_study(header: Dataset, whole: Dataset) -> None:
    """Lay into `whole` what `header`, of a slice, says of patient, study and trial; names as text of any letters."""
    for keyword in REQUIRED:
        setattr(whole, keyword, "")
    for keyword in (*REQUIRED, *KEYWORDS):
        if keyword in header:
            whole.add(header[keyword])
    for element in whole.iterall():
        _rewrite_names(element)


def drop_unreadable(header: Dataset) -> list[str]:
    """Take from `header` what cannot be read of patient, study and trial; says what, for it is lost to the object."""
    lost = []
    for keyword in KEYWORDS:
        if keyword not in header:
            continue
        try:
            element = header[keyword]
            if element.VR == "SQ":
                for item in element.value:
                    list(item.iterall())  # reads what lies within
        except (
            BytesLengthException,
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
            OverflowError,
            NotImplementedError,
        ):
            delattr(header, keyword)
            lost.append(keyword)
    return [f"{', '.join(lost)}: not readable, and not copied into the segmentation"] if lost else []


def _rewrite_names(element: DataElement) -> None:
    """Names keep the bytes they were read from, which are of another character set than the object's."""
    if element.VR != "PN":
        return
    value = element.value
    element.value = str(value) if isinstance(value, PersonName) else [str(one) for one in value] if value else ""

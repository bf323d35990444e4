"""Fixed texts and metadata of a synthetic data set."""

DESCRIPTION: dict[str, object] = {
    "Name": "Synthetic cohort with known truth",
    "BIDSVersion": "1.10.0",
    "DatasetType": "raw",
    "License": "CC0",
    "Authors": ["rls_bids_phantom"],
    "HowToAcknowledge": "No person was measured.",
    "GeneratedBy": [{"Name": "rls_bids_phantom"}],
}

DERIVATIVE_DESCRIPTION: dict[str, object] = {
    "Name": "Synthetic cohort with known truth, preprocessed",
    "BIDSVersion": "1.10.0",
    "DatasetType": "derivative",
    "License": "CC0",
    "GeneratedBy": [
        {
            "Name": "fMRIPrep",
            "Version": "23.2.0",
            "Description": "imitated by rls_bids_phantom; nothing was preprocessed",
        },
        {"Name": "rls_bids_phantom"},
    ],
}

README = """# Synthetic cohort with known truth

No person was measured. Heads are random deformations of a standard (or given) head; networks,
group differences, head motion and noise were planted and are written under `sourcedata/truth`.

Written by `rls_bids_phantom` with

    {spec}

Files of `sourcedata/truth`

- `truth.json`: regions (centres in the standard space), planted differences (latent d, sign of RLS
  minus HC) and the difference that is expected to be measured.
- `sub-*/[ses-*/]tissues_dseg.nii.gz`: 1 grey matter, 2 white matter, 3 CSF, on the T1w grid.
- `t1w_to_standard.npz`: a T1w point x shows the tissue of y + u(y), y = affine x,
  u(y) = sum of cosines cos(waves y) + sines sin(waves y).
- `standard_to_t1w_displacement.nii.gz`: (X, Y, Z, 3), what to add to a standard point to get the
  T1w point of the same tissue, RAS+ mm.
- `motion.npz`: `matrices` map a point of the BOLD space with the head in its reference pose (that
  of the first volume) to where the same tissue is in each volume; `parameters` are x, y, z in mm
  and rotations about x, y, z in rad, R = Rz Ry Rx about `centre_mm`; `t1w_to_bold` maps a T1w
  point to where its tissue is in the BOLD space in the reference pose.
"""

T1W_FIELDS: dict[str, object] = {
    "Modality": "MR",
    "MagneticFieldStrength": 3.0,
    "Manufacturer": "none",
    "ManufacturersModelName": "rls_bids_phantom",
    "PulseSequenceType": "simulated T1-weighted gradient echo",
}

BOLD_FIELDS: dict[str, object] = {
    "TaskName": "rest",
    "Instructions": "Lie still with open eyes.",
    "Modality": "MR",
    "MagneticFieldStrength": 3.0,
    "Manufacturer": "none",
    "ManufacturersModelName": "rls_bids_phantom",
    "PulseSequenceType": "simulated gradient echo EPI",
    "EchoTime": 0.03,
    "FlipAngle": 77,
}

PARTICIPANT_COLUMNS: dict[str, object] = {
    "group": {
        "Description": "Group of the participant",
        "Levels": {"RLS": "restless legs syndrome", "HC": "healthy control"},
    },
    "age": {"Description": "Age at the scan", "Units": "year"},
    "sex": {"Description": "Sex", "Levels": {"F": "female", "M": "male"}},
    "irls": {
        "Description": "International Restless Legs Syndrome Study Group rating scale, 0 to 40; "
        "n/a for controls"
    },
}

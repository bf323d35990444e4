"""What is taken of another program's anatomy."""

from rls_bids.dataset.derivatives import find_anatomy
from rls_bids.dataset.filters import BidsFile


def test_an_amount_of_tissue_is_not_taken_for_its_probability() -> None:
    names = ("label-GM_desc-modulated_probseg", "label-GM_probseg")
    files = [
        BidsFile(
            path=f"/x/sub-01_space-S_res-2_{name}.nii.gz",
            entities={
                "sub": "01", "space": "S", "res": "2", "label": "GM", "suffix": "probseg",
                "extension": ".nii.gz", "datatype": "anat",
                **({"desc": "modulated"} if "desc" in name else {}),
            },
        )
        for name in names
    ]  # fmt: skip
    assert find_anatomy(files, None, ("S", "2"))["GM"].endswith("res-2_label-GM_probseg.nii.gz")

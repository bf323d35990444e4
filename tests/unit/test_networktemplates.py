"""Templates of networks: where they are, which side, and another atlas as an oracle."""

import nibabel as nib
import numpy as np
import pytest

from rls_bids.measures.ica import LEAST_R
from rls_bids.numerics.matching import match_maps
from rls_bids.resources.atlases import find_atlas
from rls_bids.resources.networktemplates import FWHM_MM, TEMPLATE_ATLAS, network_templates
from rls_bids.resources.parcels import load_parcels
from rls_bids.resources.spaces import points_to_space
from rls_bids.resources.templates import locate_template

SPACE, FSL = "MNI152NLin2009cAsym", "MNI152NLin6Asym"
SHAPE = (38, 46, 38)
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
AFFINE[:3, 3] = -74, -110, -60
MASK = np.ones(SHAPE, bool)
NETWORKS = [
    *("Auditory", "CinguloOpercular", "DefaultMode", "DorsalAttention", "FrontoParietal"),
    *("MedialTemporalLobe", "ParietoMedial", "Reward", "Salience", "SomatomotorDorsal"),
    *("SomatomotorLateral", "VentralAttention", "Visual"),
]


@pytest.fixture(scope="module")
def templates():
    return network_templates(find_atlas(TEMPLATE_ATLAS), MASK, AFFINE, SPACE)


def test_they_are_the_thirteen_networks(templates):
    assert list(templates) == NETWORKS
    assert all(each.shape == (MASK.sum(),) and each.dtype == np.float32
               for each in templates.values())  # fmt: skip
    assert all(0 <= each.min() < 1e-6 and 0.5 < each.max() <= 1 for each in templates.values())


def test_no_component_could_fit_two_of_them():
    """That sets the width: 1 mm more, and two correlate by what gives a component its name."""
    image = nib.load(locate_template(SPACE, "2").brain)
    brain, affine = (image.get_fdata() > 0)[::4, ::4, ::4], np.array(image.affine)
    affine[:3, :3] *= 4
    found = np.stack(
        list(network_templates(find_atlas(TEMPLATE_ATLAS), brain, affine, SPACE).values())
    )
    wider = found ** (FWHM_MM**2 / (FWHM_MM + 1) ** 2)
    for maps, is_apart in ((found, True), (wider, False)):
        r = np.corrcoef(maps)
        np.fill_diagonal(r, 0)
        assert (r.max() < LEAST_R) == is_apart


def test_a_node_is_1_and_half_the_width_beside_it_a_half():
    """Through an image of a few voxels around one node that has no neighbour near."""
    atlas = find_atlas(TEMPLATE_ATLAS)
    nodes = {p.name: p for p in load_parcels(atlas)}
    node = next(p for p in nodes.values() if p.network == "Auditory")
    grid = np.diag([FWHM_MM / 2, 1.0, 1.0, 1.0])
    grid[:3, 3] = points_to_space(np.array([node.centre_mm]), FSL, SPACE)[0]
    found = network_templates(atlas, np.ones((2, 1, 1), bool), grid, SPACE)["Auditory"]
    assert found[0] == pytest.approx(1, abs=1e-5)
    assert found[1] >= 0.5 - 1e-5  # a neighbour can only add
    alone = [np.linalg.norm(grid[:3, 3] + [FWHM_MM / 2, 0, 0] - points_to_space(
        np.array([p.centre_mm]), FSL, SPACE)[0]) for p in nodes.values()
        if p.network == "Auditory"]  # fmt: skip
    variance = FWHM_MM**2 / (8 * np.log(2))
    assert found[1] == pytest.approx(np.exp(-(min(alone) ** 2) / (2 * variance)), rel=1e-5)


def test_left_stays_left_and_places_are_moved(templates):
    """Nodes without a partner on the other side: their network is at them, not at the mirror."""
    nodes = [p for p in load_parcels(find_atlas(TEMPLATE_ATLAS)) if p.network in NETWORKS]
    centres = np.array([p.centre_mm for p in nodes])
    there = points_to_space(centres, FSL, SPACE)
    inverse = np.linalg.inv(AFFINE)
    sides = []
    for place, (node, centre) in enumerate(zip(nodes, there, strict=True)):
        own = np.array([p.network == node.network for p in nodes])
        mirror = centre * [-1, 1, 1]
        if np.linalg.norm(there[own] - mirror, axis=1).min() < 1.5 * FWHM_MM:
            continue
        volume = templates[node.network].reshape(SHAPE)
        here, other = (
            volume[tuple(np.rint(inverse[:3, :3] @ each + inverse[:3, 3]).astype(int))]
            for each in (centre, mirror)
        )
        assert here > 0.8, place  # the next voxel is at most 3.5 mm away
        assert other < 0.1, place
        sides.append(np.sign(centre[0]))
    assert set(sides) == {-1, 1}
    assert len(sides) > 5
    unmoved = network_templates(find_atlas(TEMPLATE_ATLAS), MASK, AFFINE, FSL)
    assert not np.allclose(unmoved["SomatomotorDorsal"], templates["SomatomotorDorsal"], atol=0.05)


def test_another_atlas_knows_the_same_networks(templates):
    """Dosenbach's networks, drawn in the same way, are matched to those of their names."""
    other = network_templates(find_atlas("Dosenbach160"), MASK, AFFINE, SPACE)
    found = match_maps(list(other.values()), list(templates.values()), LEAST_R)
    named = {
        name: NETWORKS[index] if index >= 0 else ""
        for name, index in zip(other, found.template, strict=True)
    }
    assert named["cerebellum"] == "", "a place, not one network"
    assert named["default"] == "DefaultMode"
    assert named["fronto-parietal"] == "FrontoParietal"
    assert named["occipital"] == "Visual"
    # Two networks of one atlas are one of the other.
    assert named["cingulo-opercular"] in ("CinguloOpercular", "Salience")
    assert named["sensorimotor"] in ("SomatomotorDorsal", "SomatomotorLateral")
    assert (found.r[found.template >= 0] > 0.3).all()

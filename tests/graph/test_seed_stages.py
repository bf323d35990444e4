"""What seeds of every kind write, what makes it valid, and the nodes that make it."""

import json
from collections import Counter
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from rls_bids.dataset.group import _wanted
from rls_bids.dataset.naming import parse
from rls_bids.dataset.participants import check_processing
from rls_bids.dataset.query import index_participants
from rls_bids.dataset.results import GroupMaps
from rls_bids.errors import UsageError
from rls_bids.records import Compared, GroupInput, Seed
from rls_bids.resources.grids import standard_grid
from rls_bids.resources.regions import CIRCULAR
from rls_bids.resources.seeds import seeds_asked
from rls_bids.resources.templates import locate_template
from rls_bids.settings import build_settings
from rls_bids.workflows.participant import init_participants_wf
from rls_bids.workflows.seeds import needed_for, partners_of
from rls_bids.workflows.stages import stages_of
from tests.factories import write_dataset

SPACE = "MNI152NLin2009cAsym"
ROWS = [
    {"name": "A", "network": "n", "x": -20, "y": 0, "z": 20, "radius_mm": 5, "space": SPACE},
    {"name": "B", "network": "n", "x": 20, "y": 0, "z": 20, "radius_mm": 5, "space": SPACE},
    {"name": "C", "network": "m", "x": 0, "y": -50, "z": 30, "radius_mm": 5, "space": SPACE},
    {"name": "AB", "network": "n", "members": ["A", "B"]},
    {"name": "M", "network": "k", "mask": "m.nii.gz", "space": SPACE},
]


@pytest.fixture
def world(tmp_path):
    """Return a function: options of a call → its settings, seeds and only session."""
    write_dataset(tmp_path / "bids", {"01": {None: {}}})
    shape, affine = standard_grid(SPACE, "2")
    data = np.zeros(shape, np.uint8)
    data[40:50, 40:50, 40:50] = 1
    nib.save(nib.Nifti1Image(data, affine), tmp_path / "m.nii.gz")
    stack = np.random.default_rng(0).random((8, 8, 8, 3)).astype(np.float32)
    nib.save(nib.Nifti1Image(stack, np.diag([20.0, 20, 20, 1])), tmp_path / "rsn.nii.gz")
    (tmp_path / "seeds.json").write_text(json.dumps(ROWS), encoding="utf-8")

    def make(**more):
        settings = build_settings(
            {
                "analysis_level": "participant",
                "input.bids_dir": str(tmp_path / "bids"),
                "input.output_dir": str(tmp_path / "out"),
                "run.work_dir": str(tmp_path / "work"),
                "measures.seeds_file": str(tmp_path / "seeds.json"),
                **{f"measures.{name}": value for name, value in more.items()},
            }
        )
        people = index_participants(settings.input, settings.bold)
        return settings, {seed.name: seed for seed in seeds_asked(settings)}, people

    return make


def stages_in(world, **more):
    settings, seeds, people = world(**more)
    template = locate_template(settings.anat.space, settings.anat.resolution)
    return stages_of(people[0].sessions[0], settings, template, seeds)


def graph_of(world, **more):
    settings, seeds, people = world(**more)
    template = locate_template(settings.anat.space, settings.anat.resolution)
    return init_participants_wf(people, settings, template, seeds, "run")


def nodes_of(plan):
    nodes = [plan.workflow.get_node(name) for name in plan.workflow.list_node_names()]
    return {
        node.name: node for node in nodes if type(node.interface).__name__ != "IdentityInterface"
    }


def told(stages, name):
    return stages.seeds["acompcor"][name].product("fisherz").metadata


def test_series_and_regression_make_another_result_that_says_so(world):
    found = [
        stages_in(world),
        stages_in(world, seed_series="eigenvariate"),
        stages_in(world, seed_regression="together"),
    ]
    for name in ("A", "AB", "M"):
        assert len({told(each, name)["Fingerprint"] for each in found}) == 3, name
        processing = [json.dumps(told(each, name)["Processing"]) for each in found]
        assert len(set(processing)) == 3, name
    assert told(found[0], "A")["Seed"]["Regression"] == ["separate"]
    assert told(found[1], "AB")["Seed"]["Series"] == ["eigenvariate"]
    assert told(found[2], "A")["Processing"]["SeedRegressedWith"] == ["B"]
    assert told(found[2], "C")["Processing"]["SeedRegressedWith"] == []


def test_the_content_of_a_mask_is_part_of_what_makes_its_map_valid(world, tmp_path):
    before = stages_in(world)
    image = nib.load(tmp_path / "m.nii.gz")
    data = np.array(np.asarray(image.dataobj))
    data[:45] = 0
    nib.save(nib.Nifti1Image(data, image.affine), tmp_path / "m.nii.gz")
    after = stages_in(world)
    assert told(before, "M")["Fingerprint"] != told(after, "M")["Fingerprint"]
    assert told(before, "M")["Processing"] != told(after, "M")["Processing"]
    assert told(before, "A")["Fingerprint"] == told(after, "A")["Fingerprint"]


def test_seeds_together_need_each_other_whatever_is_finished(world):
    _, seeds, _ = world(seed_regression="together")
    assert partners_of(seeds["A"], seeds) == ("B",)
    assert partners_of(seeds["AB"], seeds) == ()
    assert needed_for(["A"], seeds) == ["A", "B"]
    assert needed_for(["AB"], seeds) == ["A", "AB", "B"]
    _, seeds, _ = world()
    assert needed_for(["A"], seeds) == ["A"]
    mixed = seeds | {"A": replace(seeds["A"], regression="together")}
    assert partners_of(mixed["A"], mixed) == ()


def test_network_maps_have_a_node_of_their_own_and_names_like_seeds(world, tmp_path):
    plan = graph_of(
        world, network_maps=str(tmp_path / "rsn.nii.gz"), names=["seed", "dualregression"]
    )
    nodes = nodes_of(plan)
    kinds = Counter(type(node.interface).__name__ for node in nodes.values())
    assert kinds["DualRegression"] == 1
    assert kinds["SeedMaps"] == 3
    dual = nodes["seed_mapsRsn"]
    assert dual.inputs.wanted == ["rsn_volume1", "rsn_volume2", "rsn_volume3"]
    assert dual.inputs.version
    paths = nodes["ds_mapsRsn"].inputs.paths
    assert set(paths) == {f"rsn_volume{n}:fisherz" for n in (1, 2, 3)}
    parsed = parse(paths["rsn_volume2:fisherz"])
    assert parsed.product == "seed_map"
    assert dict(parsed.entities)["seed"] == "rsnVolume2"
    quality = [node for name, node in nodes.items() if name == "quality"]
    assert all(seed["kind"] != "network" for seed in quality[0].inputs.seeds)


def test_without_network_maps_there_is_no_dual_regression(world, tmp_path):
    assert "DualRegression" not in {
        type(n.interface).__name__ for n in nodes_of(graph_of(world)).values()
    }
    path = str(tmp_path / "rsn.nii.gz")
    only = nodes_of(graph_of(world, network_maps=path, names=["dualregression"]))
    kinds = Counter(type(node.interface).__name__ for node in only.values())
    assert (kinds["DualRegression"], kinds["SeedMaps"]) == (1, 0)


def test_no_two_results_meet_in_one_path(world, tmp_path):
    stages = stages_in(world, network_maps=str(tmp_path / "rsn.nii.gz"))
    paths = [p.path for stage in stages.seeds["acompcor"].values() for p in stage.products]
    figures = [f for stage in stages.seeds["acompcor"].values() for f in stage.figures]
    assert len({path.casefold() for path in paths}) == len(paths) == 2 * len(ROWS) + 3
    assert len({path.casefold() for path in figures}) == len(figures)


def test_all_maps_of_a_file_make_each_of_them_valid(world, tmp_path):
    path = tmp_path / "rsn.nii.gz"
    before = stages_in(world, network_maps=str(path))
    image = nib.load(path)
    data = np.array(np.asarray(image.dataobj))
    data[..., 2] += 0.1 * np.arange(8)
    nib.save(nib.Nifti1Image(data, image.affine), path)
    after = stages_in(world, network_maps=str(path))
    assert told(before, "rsn_volume1")["Fingerprint"] != told(after, "rsn_volume1")["Fingerprint"]
    others = told(after, "rsn_volume1")["Processing"]["SeedRegressedWith"]
    assert others == ["rsn_volume2", "rsn_volume3"]


def test_a_mask_of_a_group_result_is_warned_of(world, tmp_path):
    folder = tmp_path / "out" / "group" / "model-group"
    folder.mkdir(parents=True)
    (tmp_path / "m.nii.gz").rename(folder / "c.nii.gz")
    rows = [*ROWS[:4], ROWS[4] | {"mask": str(folder / "c.nii.gz")}]
    (tmp_path / "seeds.json").write_text(json.dumps(rows), encoding="utf-8")
    words = CIRCULAR.format(seed="M", path=folder / "c.nii.gz")
    notes = [note for note in graph_of(world).notes if note.message == words]
    assert [(note.participant, note.level) for note in notes] == [("01", "warning")]
    assert told(stages_in(world), "M")["Seed"]["Circularity"] == words
    assert "Circularity" not in told(stages_in(world), "A")["Seed"]


def test_records_travel_as_plain_values(world, tmp_path):
    _, seeds, _ = world(network_maps=str(tmp_path / "rsn.nii.gz"))
    for node in nodes_of(graph_of(world)).values():
        for plain in getattr(node.inputs, "seeds", None) or ():
            assert Seed(**plain).name in seeds


def test_a_group_of_differently_used_seeds_is_refused(world):
    usual = told(stages_in(world), "A")["Processing"]
    one = GroupInput(
        participant="01",
        session=None,
        path="",
        mean_fd_mm=0.1,
        minutes_kept=5.0,
        degrees_of_freedom=50,
        size_mm="2",
        processing=json.dumps(usual),
    )
    same = [replace(one, participant=label) for label in ("01", "02")]
    check_processing(same)
    for option, key in (
        ({"seed_series": "eigenvariate"}, "SeedSeries"),
        ({"seed_regression": "together"}, "SeedRegress"),
    ):
        other = json.dumps(told(stages_in(world, **option), "A")["Processing"])
        with pytest.raises(UsageError, match=f"sub-03 has {key}"):
            check_processing([*same, replace(one, participant="03", processing=other)])


def test_a_group_compares_the_networks_that_are_asked_for(world, tmp_path):
    settings, seeds, _ = world(seed_networks=["m", "n"])
    compared = {
        name: Compared(name=name, measure="fisherz", resolution="2", seeds=(seed,))
        for name, seed in world()[1].items()
    }
    maps = GroupMaps(inputs={}, missing={}, compared=compared, task="rest")
    assert list(_wanted(maps, settings)) == list(seeds) == ["A", "B", "C", "AB"]
    settings, seeds, _ = world(network_maps=str(tmp_path / "rsn.nii.gz"))
    wanted = _wanted(maps, settings)
    assert list(wanted)[-1] == "rsnVolume3"
    assert wanted["rsnVolume3"].seeds[0].kind == "network"

"""The command line as a shell sees it: files, columns, JSON keys, exit codes, and nothing half-written."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.conftest import QUICK, Amiss

COLUMNS = {"path", "score", "p_value", "verdict", "threshold", "review_threshold", "seconds"}
FIGURES = {
    "image_auroc", "image_ap", "image_f1max", "pixel_auroc", "pixel_ap", "aupro", "n_normal", "n_anomalous", "ms_per_part",
}  # fmt: skip


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def picture(path: Path, shade: int = 128, size: tuple[int, int] = (96, 96)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(shade)
    image = np.clip(rng.normal(shade, 10, (*size, 3)), 0, 255).astype(np.uint8)
    path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    return path


def test_fit_predict_evaluate_verify_from_end_to_end(amiss: Amiss, category: Path, tmp_path: Path) -> None:
    model, out = tmp_path / "disc.amiss", tmp_path / "out"
    fitted = amiss("fit", category, "--out", model, *QUICK, "--json")
    assert fitted.code == 0, fitted.err
    assert fitted.json["parts"] == 14 and fitted.json["calibration"]["how"] == "cross-fitted"
    assert fitted.json["calibration"]["extrapolated"] is True
    assert "extrapolated" in fitted.err

    judged = amiss("predict", model, category / "test", "--out", out, "--json")
    assert judged.code == 0, judged.err
    assert judged.json["parts"] == 10 and sum(judged.json["verdicts"].values()) == 10
    table = rows(out)
    assert set(table[0]) >= COLUMNS
    assert [row["path"] for row in table] == sorted(row["path"] for row in table)
    assert all(row["verdict"] in ("OK", "REVIEW", "NG") for row in table)
    assert all(float(row["threshold"]) >= float(row["review_threshold"]) for row in table)
    assert len(list((out / "overlays").iterdir())) == 10
    assert (out / "report.html").stat().st_size > 10_000

    found = amiss("evaluate", model, category, "--json")
    assert found.code == 0, found.err
    assert set(found.json) >= FIGURES
    assert (found.json["n_normal"], found.json["n_anomalous"]) == (5, 5)
    assert found.json["image_auroc"] >= 0.9 and found.json["pixel_auroc"] >= 0.8

    replayed = amiss("verify", model, "--json")
    assert replayed.code == 0 and replayed.json["same"] is True and len(replayed.json["goldens"]) == 3


def test_scores_from_the_command_line_are_those_of_the_library(
    amiss: Amiss, model_file: Path, category: Path, tmp_path: Path
) -> None:
    import amiss as library

    amiss("predict", model_file, category / "test", "--out", tmp_path / "out", "--no-overlays", "--no-report")
    model = library.load(model_file)
    for row in rows(tmp_path / "out"):
        result = model.judge(row["path"])
        assert result.score == pytest.approx(float(row["score"]), rel=1e-6)
        assert result.verdict is not None and result.verdict.outcome == row["verdict"]


def test_calibrate_changes_the_thresholds_without_changing_a_score(
    amiss: Amiss, model_file: Path, category: Path, tmp_path: Path
) -> None:
    loose = tmp_path / "loose.amiss"
    assert amiss("calibrate", model_file, "--budget", "0.2", "--out", loose).code == 0
    for name, file in (("a", model_file), ("b", loose)):
        amiss("predict", file, category / "test", "--out", tmp_path / name, "--no-overlays", "--no-report")
    strict, relaxed = rows(tmp_path / "a"), rows(tmp_path / "b")
    assert [row["score"] for row in strict] == [row["score"] for row in relaxed]
    assert float(relaxed[0]["threshold"]) < float(strict[0]["threshold"])
    assert relaxed[0]["extrapolated"] == "False"


def test_calibrate_on_new_good_parts_gives_a_split_calibration(amiss: Amiss, model_file: Path, tmp_path: Path) -> None:
    from amiss.data import toys

    fresh = toys.make_folder(tmp_path / "fresh", seed=77, kind="object", train=9, good=0, bad=0)
    said = amiss("calibrate", model_file, "--good", fresh / "train" / "good", "--out", tmp_path / "new.amiss", "--json")
    assert said.code == 0, said.err
    assert (said.json["calibration"]["how"], said.json["calibration"]["parts"]) == ("split", 9)


def test_calibrating_on_the_fitted_parts_is_refused(amiss: Amiss, model_file: Path, category: Path, tmp_path: Path) -> None:
    out = tmp_path / "never.amiss"
    said = amiss("calibrate", model_file, "--good", category / "train" / "good", "--out", out)
    assert said.code == 2 and "fitted on" in said.err and not out.exists()


def test_calibrating_takes_the_calibration_rows_of_a_table(amiss: Amiss, model_file: Path, tmp_path: Path) -> None:
    from amiss.data import toys

    fresh = toys.make_folder(tmp_path / "fresh", seed=78, kind="object", train=8, good=0, bad=0)
    table = tmp_path / "good.csv"
    lines = [f"{path},good,calibration" for path in sorted((fresh / "train" / "good").iterdir())]
    table.write_text("\n".join(["path,label,split", *lines]))
    said = amiss("calibrate", model_file, "--good", table, "--out", tmp_path / "new.amiss", "--json")
    assert said.code == 0 and said.json["calibration"]["parts"] == 8


@pytest.mark.parametrize("budget", ["0", "1", "-0.5"])
def test_an_impossible_budget_is_refused_by_calibrate(amiss: Amiss, model_file: Path, tmp_path: Path, budget: str) -> None:
    said = amiss("calibrate", model_file, "--budget", budget, "--out", tmp_path / "new.amiss")
    assert said.code == 2 and "budget" in said.err and not (tmp_path / "new.amiss").exists()


def test_test_pictures_that_set_the_thresholds_are_counted_as_seen(amiss: Amiss, tmp_path: Path) -> None:
    from amiss.data import toys

    root = toys.make_folder(tmp_path / "disc", seed=5, kind="object", train=6, good=0, bad=0)
    lines = [f"{path},good" for path in sorted((root / "train" / "good").iterdir())]
    (tmp_path / "t.csv").write_text("\n".join(["path,label", *lines]))
    amiss("fit", tmp_path / "t.csv", "--out", tmp_path / "m.amiss", *QUICK, "--calibration", "split")
    assert amiss("evaluate", tmp_path / "m.amiss", tmp_path / "t.csv", "--json").json["seen_in_fit"] == 6


def test_an_uncalibrated_model_leaves_verdict_and_thresholds_empty(amiss: Amiss, category: Path, tmp_path: Path) -> None:
    model, out = tmp_path / "raw.amiss", tmp_path / "out"
    assert amiss("fit", category, "--out", model, *QUICK, "--calibration", "none").code == 0
    said = amiss("predict", model, category / "test" / "good", "--out", out)
    assert said.code == 0 and "not calibrated" in said.err
    for row in rows(out):
        assert row["score"] and not (row["verdict"] or row["threshold"] or row["review_threshold"] or row["p_value"])
    assert amiss("evaluate", model, category, "--json").json["false_alarms"] is None


def test_a_bare_folder_is_fitted_recursively(amiss: Amiss, tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / "parts" / f"day{i}" / "part.png", 100 + i)
    said = amiss("fit", tmp_path / "parts", "--out", tmp_path / "m.amiss", *QUICK, "--json")
    assert said.code == 0 and said.json["parts"] == 3


def test_a_table_with_labels_is_fitted_and_evaluated(amiss: Amiss, category: Path, tmp_path: Path) -> None:
    lines = ["path,label,split"]
    lines += [f"{path},good,train" for path in sorted((category / "train" / "good").iterdir())[:6]]
    lines += [f"{path},good,test" for path in sorted((category / "test" / "good").iterdir())]
    bad = [path for kind in sorted((category / "test").iterdir()) if kind.name != "good" for path in sorted(kind.iterdir())]
    lines += [f"{path},scratched,test" for path in bad]
    table = tmp_path / "parts.csv"
    table.write_text("\n".join(lines))
    assert amiss("fit", table, "--out", tmp_path / "m.amiss", *QUICK).code == 0
    found = amiss("evaluate", tmp_path / "m.amiss", table, "--json")
    assert found.code == 0 and found.json["n_anomalous"] == len(bad)
    assert found.json["pixel_auroc"] is None and "no mask" in found.json["reasons"]["pixel_auroc"]


def test_one_picture_fits_and_every_verdict_is_review(amiss: Amiss, tmp_path: Path) -> None:
    picture(tmp_path / "one" / "a.png")
    said = amiss("fit", tmp_path / "one", "--out", tmp_path / "m.amiss", *QUICK)
    assert said.code == 0 and "every part is REVIEW" in said.err
    amiss("predict", tmp_path / "m.amiss", picture(tmp_path / "b.png", 20), "--out", tmp_path / "out")
    assert [row["verdict"] for row in rows(tmp_path / "out")] == ["REVIEW"]


def test_mixed_sizes_and_grey_beside_colour_work(amiss: Amiss, tmp_path: Path) -> None:
    for i, size in enumerate([(96, 96), (60, 180), (200, 50)]):
        picture(tmp_path / "p" / f"{i}.png", 100, size)
    grey = np.full((80, 80), 90, np.uint8)
    (tmp_path / "p" / "grey.png").write_bytes(cv2.imencode(".png", grey)[1].tobytes())
    assert amiss("fit", tmp_path / "p", "--out", tmp_path / "m.amiss", *QUICK).code == 0
    said = amiss("predict", tmp_path / "m.amiss", tmp_path / "p", "--out", tmp_path / "out", "--json")
    assert said.code == 0 and said.json["parts"] == 4


def test_all_black_pictures_fit_and_a_bright_one_stands_out(amiss: Amiss, tmp_path: Path) -> None:
    for i in range(9):
        black = np.zeros((64, 64, 3), np.uint8)
        black[0, 0] = i  # copies would be one picture
        (tmp_path / "p").mkdir(exist_ok=True)
        (tmp_path / "p" / f"{i}.png").write_bytes(cv2.imencode(".png", black)[1].tobytes())
    assert amiss("fit", tmp_path / "p", "--out", tmp_path / "m.amiss", *QUICK).code == 0
    bright = picture(tmp_path / "bright.png", 200)
    amiss("predict", tmp_path / "m.amiss", bright, tmp_path / "p" / "0.png", "--out", tmp_path / "out")
    first, second = rows(tmp_path / "out")
    assert float(first["score"]) > float(second["score"])
    assert first["verdict"] == "NG"


def test_identical_pictures_fit(amiss: Amiss, tmp_path: Path) -> None:
    for i in range(4):
        picture(tmp_path / "p" / f"{i}.png", 100)
    said = amiss("fit", tmp_path / "p", "--out", tmp_path / "m.amiss", *QUICK)
    assert said.code == 0, said.err
    amiss("predict", tmp_path / "m.amiss", tmp_path / "p", "--out", tmp_path / "out")
    assert {row["verdict"] for row in rows(tmp_path / "out")} == {"REVIEW"}  # one distinct part: no threshold
    assert "copies of one" in said.err


def test_names_that_are_not_utf8_and_equal_stems_keep_all_overlays(amiss: Amiss, model_file: Path, tmp_path: Path) -> None:
    strange = os.fsdecode(b"caf\xe9 <b>.png")
    for folder in ("left", "right"):
        picture(tmp_path / "in" / folder / "part.png")
        picture(tmp_path / "in" / folder / strange)
    said = amiss("predict", model_file, tmp_path / "in", "--out", tmp_path / "out")
    assert said.code == 0, said.err
    assert len(list((tmp_path / "out" / "overlays").iterdir())) == 4
    assert len({row["overlay"] for row in rows(tmp_path / "out")}) == 4
    assert "<b>.png" not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_predict_takes_files_folders_and_globs_each_picture_once(amiss: Amiss, model_file: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "sub/c.png"):
        picture(tmp_path / "in" / name)
    given = (tmp_path / "in" / "a.png", tmp_path / "in", f"{tmp_path}/in/*.png")
    said = amiss("predict", model_file, *given, "--out", tmp_path / "out", "--json")
    assert said.json["parts"] == 3


def test_judging_again_into_the_same_folder_replaces_what_was_there(amiss: Amiss, model_file: Path, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    picture(tmp_path / "in" / "b.png")
    for given in (tmp_path / "in", tmp_path / "in" / "a.png"):
        assert amiss("predict", model_file, given, "--out", tmp_path / "in" / "out").code == 0
    assert len(list((tmp_path / "in" / "out" / "overlays").iterdir())) == 1
    assert sorted(p.name for p in (tmp_path / "in" / "out").iterdir() if p.name.startswith(".")) == []


def test_a_second_run_leaves_nothing_of_the_first_beside_its_results(amiss: Amiss, model_file: Path, tmp_path: Path) -> None:
    given, out = picture(tmp_path / "a.png"), tmp_path / "out"
    first = amiss("predict", model_file, given, "--out", out, "--json").json["files"]
    assert {"results.csv", "overlays", "report.html"} <= set(first)
    second = amiss("predict", model_file, given, "--out", out, "--no-overlays", "--no-report", "--json").json["files"]
    assert "results.csv" in second
    assert not (out / "overlays").exists() and not (out / "report.html").exists()


def test_the_parquet_table_holds_what_the_csv_holds(amiss: Amiss, model_file: Path, category: Path, tmp_path: Path) -> None:
    import pyarrow.parquet

    amiss("predict", model_file, category / "test", "--out", tmp_path / "out", "--no-overlays", "--no-report")
    table = pyarrow.parquet.read_table(tmp_path / "out" / "results.parquet").to_pylist()
    written = rows(tmp_path / "out")
    assert [row["path"] for row in table] == [row["path"] for row in written]
    assert [row["score"] for row in table] == [float(row["score"]) for row in written]
    assert [row["verdict"] for row in table] == [row["verdict"] for row in written]


def test_a_very_long_picture_is_judged_and_drawn_reduced(amiss: Amiss, model_file: Path, tmp_path: Path) -> None:
    given = picture(tmp_path / "long.png", 128, (2, 70_000))
    said = amiss("predict", model_file, given, "--out", tmp_path / "out", "--json")
    assert said.code == 0 and said.json["parts"] == 1
    assert (tmp_path / "out" / rows(tmp_path / "out")[0]["overlay"]).is_file()


def test_fields_may_stand_before_the_data(amiss: Amiss, category: Path, tmp_path: Path) -> None:
    said = amiss("fit", "--size", "64", "-q", "--bank=50", category, "--calibration", "none", "--out", tmp_path / "m.amiss")
    assert said.code == 0, said.err


def test_what_a_data_set_leaves_out_is_said(amiss: Amiss, category: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    good = [f"{path},good,train" for path in sorted((category / "train" / "good").iterdir())]
    table.write_text("\n".join(["path,label,split", *good[:3], good[3].replace("good,train", "bad,train")]))
    said = amiss("fit", table, "--out", tmp_path / "m.amiss", *QUICK, "--calibration", "none", "--json")
    assert said.code == 0 and said.json["parts"] == 3 and "not used" in said.err


def test_more_memory_than_there_is_is_refused(amiss: Amiss, category: Path, tmp_path: Path) -> None:
    said = amiss("fit", category, "--out", tmp_path / "m.amiss", *QUICK, "--memory", "100000TB")
    assert said.code == 2 and "lower memory" in said.err and not (tmp_path / "m.amiss").exists()


def test_every_field_is_an_option_of_fit_in_both_spellings(amiss: Amiss, category: Path, tmp_path: Path) -> None:
    import amiss as library

    words = ("--size=64", "--layers", "8,16", "--bank", "none", "--coreset", "0.1", "--seed", "5", "--memory=64MB")
    assert amiss("fit", category, "--out", tmp_path / "m.amiss", *words).code == 0
    fields = library.load(tmp_path / "m.amiss").detector.fields()
    assert (fields["size"], fields["layers"], fields["bank"], fields["seed"]) == (64, [8, 16], None, 5)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--sise", "64"), "size"),
        (("--size", "big"), "--size 'big'"),
        (("--size",), "needs a value"),
        (("--layers", "5"), "no tap 5"),
        (("--score", "best"), "max | top"),
        (("--memory", "much"), "512MB"),
        (("--method", "patchcor"), "patchcore"),
        (("--preset", "fastest"), "fast"),
        (("--calibration", "sometimes"), "calibration"),
        (("--budget", "7"), "budget"),
        (("surplus",), "one argument too many"),
        (("--backbone", "nowhere.onnx"), "nowhere.onnx"),
    ],
)
def test_a_wrong_option_of_fit_is_refused_with_a_hint(
    amiss: Amiss, category: Path, tmp_path: Path, words: tuple[str, ...], part: str
) -> None:
    said = amiss("fit", category, "--out", tmp_path / "m.amiss", *words)
    assert said.code == 2 and part in said.err, said.err
    assert "Traceback" not in said.err
    assert list(tmp_path.iterdir()) == []


def test_an_unreadable_picture_stops_the_fit_by_name_unless_skipped(amiss: Amiss, tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / "p" / f"{i}.png", 100 + i)
    (tmp_path / "p" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    model = tmp_path / "m.amiss"
    said = amiss("fit", tmp_path / "p", "--out", model, *QUICK)
    assert said.code == 2 and "broken.png" in said.err and not model.exists()
    said = amiss("fit", tmp_path / "p", "--out", model, *QUICK, "--skip-unreadable", "--json")
    assert said.code == 0 and said.json["parts"] == 3 and "broken.png" in said.err


def test_an_unreadable_picture_stops_predict_by_name_unless_skipped(amiss: Amiss, model_file: Path, tmp_path: Path) -> None:
    picture(tmp_path / "p" / "a.png")
    (tmp_path / "p" / "zero.png").write_bytes(b"")
    out = tmp_path / "out"
    said = amiss("predict", model_file, tmp_path / "p", "--out", out)
    assert said.code == 2 and "zero.png" in said.err
    assert not out.exists() or list(out.iterdir()) == []
    said = amiss("predict", model_file, tmp_path / "p", "--out", out, "--skip-unreadable", "--json")
    assert said.code == 0 and said.json["parts"] == 1 and len(said.json["skipped"]) == 1
    assert "zero.png" in (out / "report.html").read_text(encoding="utf-8")


def test_a_folder_without_pictures_is_refused(amiss: Amiss, model_file: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for words in (("fit", tmp_path / "empty", "--out", tmp_path / "m.amiss"), ("fit", tmp_path / "no", "--out", "m.amiss")):
        said = amiss(*words)
        assert said.code == 2 and "Traceback" not in said.err
    said = amiss("predict", model_file, tmp_path / "empty", "--out", tmp_path / "out")
    assert said.code == 2 and "no picture" in said.err
    said = amiss("predict", model_file, f"{tmp_path}/*.jpg", "--out", tmp_path / "out")
    assert said.code == 2 and "no picture" in said.err
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    amiss: Amiss, model_file: Path, category: Path, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    assert amiss("fit", category, "--out", file / "m.amiss", *QUICK).code == 2
    assert amiss("fit", category, "--out", tmp_path, *QUICK).code == 2
    said = amiss("predict", model_file, category / "test", "--out", file)
    assert said.code == 2 and "cannot write" in said.err
    assert file.read_text() == "in the way"


def test_a_full_disk_leaves_no_half_written_output(
    amiss: Amiss, model_file: Path, category: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("amiss.viz.inspection.write_report", full)
    said = amiss("predict", model_file, category / "test", "--out", tmp_path / "out")
    assert said.code == 2 and "No space left" in said.err
    assert list((tmp_path / "out").iterdir()) == []


def test_a_damaged_model_file_is_refused_by_every_command(
    amiss: Amiss, model_file: Path, category: Path, tmp_path: Path
) -> None:
    content = bytearray(model_file.read_bytes())
    content[len(content) // 2] ^= 4
    bad = tmp_path / "bad.amiss"
    bad.write_bytes(content)
    for words in (
        ("predict", bad, category / "test", "--out", tmp_path / "out"), ("evaluate", bad, category), ("verify", bad),
        ("calibrate", bad, "--budget", "0.1"),
    ):  # fmt: skip
        said = amiss(*words)
        assert said.code == 2 and "bad.amiss" in said.err and "Traceback" not in said.err
    assert bad.read_bytes() == content


def test_verify_says_when_scores_have_changed(amiss: Amiss, model_file: Path, tmp_path: Path) -> None:
    import dataclasses

    import amiss as library

    model = library.load(model_file)
    goldens = {**model.goldens, "scores": np.asarray(model.goldens["scores"]) * 1.01}
    dataclasses.replace(model, goldens=goldens).save(tmp_path / "m.amiss")
    said = amiss("verify", tmp_path / "m.amiss", "--json")
    assert said.code == 3 and said.json["same"] is False


def test_without_goldens_no_picture_is_kept_and_verify_still_replays(amiss: Amiss, category: Path, tmp_path: Path) -> None:
    amiss("fit", category, "--out", tmp_path / "m.amiss", *QUICK, "--no-goldens", "--calibration", "none")
    said = amiss("verify", tmp_path / "m.amiss", "--json")
    assert said.code == 0 and len(said.json["goldens"]) == 1


def test_quiet_prints_nothing_and_json_prints_one_object(amiss: Amiss, model_file: Path, category: Path) -> None:
    assert amiss("evaluate", model_file, category, "--quiet").out == ""
    said = amiss("evaluate", model_file, category, "--quiet", "--json")
    assert said.err == "" and said.json["n_normal"] == 5


def test_evaluating_on_fitted_pictures_is_said(amiss: Amiss, category: Path, tmp_path: Path) -> None:
    table = tmp_path / "parts.csv"
    table.write_text("path,label\n" + "\n".join(f"{p},good" for p in sorted((category / "train" / "good").iterdir())))
    amiss("fit", table, "--out", tmp_path / "m.amiss", *QUICK, "--calibration", "none")
    said = amiss("evaluate", tmp_path / "m.amiss", table, "--json")
    assert said.json["seen_in_fit"] == 14 and "flatter" in said.err
    assert said.json["image_auroc"] is None and "image_auroc" in said.json["reasons"]


def test_data_check_speaks_and_has_an_exit_code(amiss: Amiss, category: Path, tmp_path: Path) -> None:
    said = amiss("data", "check", category, "--json")
    assert said.code == 0 and said.json["counts"]["train"]["good"] == 14
    assert any("99 good parts" in text for text in said.json["disabled"])
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.png").write_bytes(b"no picture")
    said = amiss("data", "check", tmp_path / "p", "--json")
    assert said.code == 3 and said.json["unreadable"]


def test_the_listing_commands_list(amiss: Amiss) -> None:
    assert "patchcore" in amiss("methods").out
    assert amiss("methods", "--json").json["methods"][0]["name"] == "patchcore"
    one = amiss("methods", "patchcore", "--json").json
    assert {field["name"] for field in one["fields"]} >= {"size", "layers", "seed", "memory"}
    assert all(field["help"] for field in one["fields"])
    assert "preset fast" in amiss("methods", "patchcore").out
    assert amiss("backbones", "--json").json["backbones"][0]["strides"] == [4, 8, 16, 32]
    health = amiss("doctor", "--json")
    assert health.code == 0 and health.json["trial_score"] >= 0
    assert amiss("--version").out.strip() == __import__("amiss").__version__


@pytest.mark.parametrize(
    "command",
    ["fit", "predict", "evaluate", "calibrate", "verify", "data", "methods", "backbones", "doctor"],
)
def test_every_command_has_help_with_a_line_for_every_option(amiss: Amiss, command: str) -> None:
    words = (command, "check", "--help") if command == "data" else (command, "--help")
    said = amiss(*words)
    assert said.code == 0 and "Usage" in said.out


def test_an_unknown_command_is_refused(amiss: Amiss) -> None:
    assert amiss("fitt").code == 2


def test_ctrl_c_in_the_middle_of_a_fit_leaves_the_old_model_intact(category: Path, tmp_path: Path) -> None:
    model = tmp_path / "m.amiss"
    model.write_bytes(b"the old model")
    slow = (
        "import sys, time, amiss.methods.patchcore as p\n"
        "from amiss.cli import main\n"
        "old = p.greedy_k_centre\n"
        "def slow(*a, **k):\n    print('choosing', flush=True); time.sleep(60)\n"
        "p.greedy_k_centre = slow\n"
        f"sys.argv = ['amiss', 'fit', {str(category)!r}, '--out', {str(model)!r}, '--size', '64', '--bank', '50']\n"
        "main()\n"
    )
    run = subprocess.Popen([sys.executable, "-c", slow], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stdout is not None and run.stderr is not None
    assert run.stdout.readline().strip() == "choosing"
    time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=30)
    assert run.returncode == 130 and "interrupted" in err
    assert model.read_bytes() == b"the old model"
    assert [p.name for p in tmp_path.iterdir()] == ["m.amiss"]


def test_importing_amiss_imports_nothing_heavy() -> None:
    code = (
        "import sys, amiss, amiss.cli.app; print([m for m in ('numpy', 'cv2', 'onnx', 'sklearn', 'scipy') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_workdir_keeps_features_for_the_next_fit_and_changes_nothing(amiss: Amiss, category: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    for name, more in (("a", ("--workdir", kept)), ("b", ("--workdir", kept)), ("c", ())):
        said = amiss("fit", category, "--out", tmp_path / f"{name}.amiss", *QUICK, *more)
        assert said.code == 0, said.err
    assert list(kept.glob("*.npz"))
    first, again, plain = ((tmp_path / f"{name}.amiss").read_bytes() for name in "abc")
    assert first == again == plain


def test_a_workdir_that_is_a_file_is_refused_before_anything_is_read(amiss: Amiss, category: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    said = amiss("fit", category, "--out", tmp_path / "a.amiss", *QUICK, "--workdir", tmp_path / "file")
    assert said.code == 2 and "choose another --workdir" in said.err
    assert not (tmp_path / "a.amiss").exists()

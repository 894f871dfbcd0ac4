"""`onnxlens report` in a browser: what the page shows, how it is used, and that it asks nobody."""

import base64
import json
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest
from oracles.browser import available, browser, listener, opened, requests
from oracles.runs import bomb, row, written

from onnxlens.engine.picture import overlay
from onnxlens.models.embedded.scenes import CLASSES, TEST_SEEDS, scene
from onnxlens.models.report.report import report
from onnxlens.models.storage import store


@pytest.fixture(scope="module")
def chromium():
    if why := available():
        pytest.skip(why)
    with browser() as driver:
        yield driver


@pytest.fixture
def folder(tmp_path):
    """A run of 120 images and two methods, some of them wrong, without a map or not read."""
    rows = []
    for i in range(120):
        about = {"truth": CLASSES[i % 6], "label": CLASSES[i % 6 if i % 10 else 7]}
        about |= {"probability": i / 200 + 0.3, "target_label": about["label"]}
        about |= {"target_probability": about["probability"], "map_entropy": float(i % 7)}
        path = f"{about['truth']}/{i:03}.png"
        rows.append(row(path, map=f"maps/{i}.npy", **about))
        rows.append(row(path, method="occlusion", problem=None if i % 8 else "no evidence", **about))
    rows.append(row("cat/cut.jpg", error="the JPEG file is damaged or cut short"))
    return written(tmp_path, rows)


@pytest.fixture
def page(chromium, folder):
    """The page of that run, open in a browser of the width of a desk."""
    path = folder / "report.html"
    path.write_text(report(folder).html())
    opened(chromium, path)
    yield chromium
    assert chromium.get_log("browser") == []
    assert requests(chromium) == []


def status(driver):
    return driver.execute_script("return document.getElementById('status').textContent")


def titles(driver):
    return driver.execute_script(
        "return [...document.querySelectorAll('.open')].map((o) => o.firstChild.title)"
    )


def choose(driver, name, value):
    script = "const f = document.getElementById('controls').elements[arguments[0]]; f.value = arguments[1];"
    driver.execute_script(script + "f.dispatchEvent(new Event('input', { bubbles: true }))", name, value)


def press(driver, *keys):
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(driver).send_keys(*keys).perform()


# The page's own listener, which comes first, moves the focus to a card.
CLOSE = """
const dialog = document.getElementById("dialog"), done = arguments[0];
if (!dialog.open) return done();
dialog.addEventListener("close", done, { once: true });
dialog.close();
"""


def pasted(driver):
    """What was copied last, as a person gets it: into the search field, which is emptied again."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    said = "return [...document.querySelectorAll('.said')].map((s) => s.textContent)"
    WebDriverWait(driver, 10).until(lambda d: any(t.startswith("Copied: ") for t in d.execute_script(said)))
    # The page's own listener of "close", which comes before this one, moves the focus to a card.
    driver.execute_async_script(
        "const dialog = document.getElementById('dialog'), done = arguments[0];"
        "if (!dialog.open) return done();"
        "dialog.addEventListener('close', done, { once: true }); dialog.close()"
    )
    driver.execute_script("const t = document.getElementById('controls').elements.text; t.maxLength = 9999")
    driver.execute_script("document.getElementById('controls').elements.text.focus()")
    ActionChains(driver).key_down(Keys.CONTROL).send_keys("v").key_up(Keys.CONTROL).perform()
    text = driver.execute_script("return document.getElementById('controls').elements.text.value")
    choose(driver, "text", "")
    driver.execute_script("document.querySelectorAll('.said').forEach((s) => (s.textContent = ''))")
    return text


def focused(driver):
    return driver.execute_script(
        "return document.activeElement.firstChild?.title ?? document.activeElement.name"
    )


def test_the_command_writes_one_page_and_says_what_is_in_it(run, folder):
    done = run("report", folder, "--json")
    assert done.code == 0, done.err
    (record,) = done.records
    assert (record["images"], record["maps"], record["problems"], record["errors"]) == (121, 225, 15, 1)
    path = Path(record["page"])
    assert path == folder / "report.html"
    assert path.stat().st_size == record["bytes"]
    again = run("report", folder)
    assert again.code == 2
    assert "--overwrite" in again.err
    assert run("report", folder, "--overwrite", "--limit", 5).code == 0
    assert run("report", folder, "-o", folder / "new/page.html").out.startswith(f"{folder}: 121 images")


def test_what_is_no_run_is_one_line_and_writes_nothing(run, tmp_path):
    done = run("report", tmp_path / "nowhere", "-o", tmp_path / "page.html")
    assert done.code == 2
    assert "holds no run" in done.err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_commands_of_the_page_make_the_same_maps_again(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for seed in TEST_SEEDS[:2]:
        cv2.imwrite(f"photos/{seed} it's.png", scene(seed).image[..., ::-1])
    done = run("run", "scenes", "photos", "--method", "gradcam,saliency", "--colour", "jet", "-o", "run")
    assert done.code == 0, done.err
    for image in report("run").data["images"]:
        for map_ in image["maps"]:
            words = shlex.split(map_["command"])
            assert run(*words[1:]).code == 0
            name = words[words.index("-o") + 1]
            (made,) = Path(name).glob("maps/**/*.npy")
            (before,) = Path("run/maps").glob(f"**/{made.name}")
            np.testing.assert_array_equal(np.load(made), np.load(before))


def test_the_page_lays_heat_over_the_photo_as_the_run_does(chromium, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    cv2.imwrite("photos/a.png", scene(TEST_SEEDS[4], size=160).image[..., ::-1])
    words = ["--method", "gradcam,guided", "--colour", "jet", "--alpha", "0.6", "--pictures", "png"]
    assert run("run", "scenes", "photos", *words, "-o", "run").code == 0
    (image,) = report("run").data["images"]
    Path("page.html").write_text(report("run").html())
    opened(chromium, Path("page.html"))

    def seen(i):
        """A picture of the page, moved into the corner of the window in its own size."""
        chromium.execute_script(
            "const all = document.querySelectorAll('.cards .stack');"
            "all.forEach((s, i) => Object.assign(s.style, i === arguments[0] ?"
            " { position: 'fixed', inset: '0 auto auto 0', width: '160px', zIndex: 9, borderRadius: 0 }"
            ": { position: '', zIndex: '' }))",
            i,
        )
        chromium.execute_script("document.getAnimations().forEach((a) => a.finish())")
        data = chromium.execute_cdp_cmd("Page.captureScreenshot", {})["data"]
        page = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
        return page[:160, :160].astype(int)

    def held(address, kind):
        return cv2.imdecode(np.frombuffer(base64.b64decode(address.split(",")[1]), np.uint8), kind)

    photo = held(image["photo"], cv2.IMREAD_COLOR)
    assert np.abs(seen(0) - photo).mean() < 2
    for i, map_ in enumerate(image["maps"], 1):
        heat = held(map_["heat"], cv2.IMREAD_GRAYSCALE)
        blended = overlay(photo[..., ::-1], heat / np.float32(255), "jet", 0.6)[..., ::-1]
        picture = cv2.imread(f"run/pictures/a.png-{CLASSES.index(map_['target_label'])}-{map_['method']}.png")
        chromium.execute_script("view('over')")
        assert np.abs(seen(i) - blended).mean() < 2
        assert np.abs(seen(i) - picture).mean() < 7  # JPEG leaves that of this photo
        chromium.execute_script("view('photo')")
        assert np.abs(seen(i) - photo).mean() < 2
        chromium.execute_script("view('heat')")
        assert np.abs(seen(i) - cv2.applyColorMap(heat, cv2.COLORMAP_JET)).mean() < 2
    assert requests(chromium) == []
    assert chromium.get_log("browser") == []


def test_the_summary_counts_and_leads_to_what_it_counts(page):
    assert status(page) == "121 images"
    texts = page.execute_script(
        "return [...document.querySelectorAll('.totals li')].map((l) => l.textContent)"
    )
    assert texts == ["121images", "225maps", "90.0 %right, of 120", "12wrong", "15without a map", "1errors"]
    page.execute_script("[...document.querySelectorAll('.totals button')][2].click()")
    assert status(page) == "12 images of 121"
    wrong = page.find_elements("css selector", "#confusion .wrong")
    assert sum(int(w.text) for w in wrong) == 12
    wrong[0].click()
    assert status(page) == f"{wrong[0].text} images of 121"
    page.execute_script("document.querySelector('#classes button').click()")
    assert status(page).endswith("images of 121")
    bar = page.find_element("css selector", "#histogram button:not(:disabled)")
    page.execute_script("arguments[0].click()", bar)
    assert bar.get_attribute("aria-pressed") == "true"
    shown = int(status(page).split()[0])
    assert f": {2 * shown} maps" in bar.get_attribute("aria-label")


def test_of_a_few_images_the_figures_are_those_of_all(chromium, folder):
    (folder / "report.html").write_text(report(folder, limit=5).html())
    opened(chromium, folder / "report.html")
    assert status(chromium) == "5 images"
    assert chromium.execute_script("return document.querySelector('.totals b').textContent") == "121"
    shown = chromium.execute_script("return data.images.map((i) => i.label)")
    other = next(label for label in CLASSES[:6] if label not in shown)
    chromium.execute_script("look({ label: arguments[0] })", f"={other}")
    assert status(chromium) == "0 images of 5"


def test_filters_and_orders(page, folder):
    images = report(folder).data["images"]
    choose(page, "label", "=heart")
    assert status(page) == f"{sum(i['label'] == 'heart' for i in images)} images of 121"
    choose(page, "label", "")
    choose(page, "state", "error")
    assert titles(page) == ["cat/cut.jpg"]
    choose(page, "state", "problem")
    assert status(page) == "15 images of 121"
    choose(page, "state", "")
    choose(page, "method", "=occlusion")
    assert status(page) == "120 images of 121"
    choose(page, "low", "0.5")
    choose(page, "high", "0.6")
    assert status(page) == f"{sum(0.5 <= (i['probability'] or 0) <= 0.6 for i in images)} images of 121"
    page.find_element("id", "clear").click()
    assert status(page) == "121 images"
    choose(page, "text", "CAT 00")
    assert set(titles(page)) == {i["path"] for i in images if "cat/00" in i["path"]}
    choose(page, "text", "")
    for order, key in (("path", lambda i: i["path"]), ("unsure", lambda i: (i["probability"], i["path"]))):
        choose(page, "sort", order)
        expected = sorted((i for i in images if not i["error"]), key=key)
        assert titles(page) == [i["path"] for i in expected[:48]]


def test_the_most_surprising_come_first(page, folder):
    assert titles(page) == [image["path"] for image in report(folder).data["images"][:48]]


def test_it_is_used_with_the_keys_alone(page):
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    names = titles(page)
    press(page, "/")
    assert focused(page) == "text"
    press(page, "heart", Keys.ESCAPE)
    assert status(page) == "121 images"
    assert focused(page) == names[0]
    press(page, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    assert focused(page) == names[1]
    press(page, Keys.ARROW_DOWN)
    below = names.index(focused(page))
    press(page, Keys.ARROW_UP)
    assert focused(page) == names[1]
    assert below > 1
    press(page, Keys.ENTER)
    title = "return document.getElementById('dialog-title').textContent"
    assert page.execute_script(title) == names[1]
    press(page, Keys.ARROW_RIGHT)
    assert page.execute_script(title) == names[2]
    press(page, Keys.ESCAPE)
    WebDriverWait(page, 10).until(lambda driver: focused(driver) == names[2])  # when "close" was heard
    assert not page.execute_script("return document.getElementById('dialog').open")
    page.execute_script("focusOn(47)")
    press(page, Keys.ARROW_RIGHT)
    assert page.execute_script("return document.getElementById('pages').textContent") == "page 2 of 3"
    assert focused(page) == titles(page)[0]


def test_a_panel_shows_heat_over_its_photo_and_hands_out_its_command(page, folder):
    layers = page.execute_script(
        "return [...document.querySelectorAll('.cards li:first-child .stack')].map((s) => "
        "[...s.children].map((i) => i.className))"
    )
    assert layers == [["photo"], ["photo", "heat"], ["photo", "none"]]
    assert page.execute_script("return document.getElementById('opacity').value") == "70"
    opacity = "return getComputedStyle(document.querySelector('.heat')).opacity"
    page.execute_script(
        "const s = document.getElementById('opacity'); s.value = 30; s.dispatchEvent(new Event('input'))"
    )
    page.execute_script("document.getAnimations().forEach((a) => a.finish())")
    assert float(page.execute_script(opacity)) == pytest.approx(0.3)
    first = report(folder).data["images"][0]["maps"][0]["command"]
    for place, line in ((".cards figure:nth-child(2)", first), ("header", f"onnxlens report {folder}")):
        page.find_element("css selector", f"{place} .copy").click()
        assert pasted(page) == line
    page.execute_script("show(0)")
    page.find_elements("css selector", "dialog .copy")[2].click()
    assert "--method occlusion" in pasted(page)
    lines = page.execute_script(
        "return [...document.querySelectorAll('dialog code')].map((c) => c.textContent)"
    )
    assert first in lines


def test_everything_that_can_be_used_has_a_name(page):
    page.execute_script("show(0)")
    unnamed = page.execute_script(
        "const isNamed = (e) => e.textContent || e.ariaLabel || e.labels?.length || e.hasAttribute('alt');"
        "const all = [...document.querySelectorAll('button, input, select, img')];"
        "return all.filter((e) => !isNamed(e)).map((e) => e.outerHTML)"
    )
    assert unnamed == []
    assert page.find_element("id", "status").get_attribute("role") == "status"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 800, 1400])
def test_it_fits_its_window(chromium, folder, width, scheme):
    path = folder / "report.html"
    path.write_text(report(folder).html())
    opened(chromium, path, width, 900, scheme)
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= width
    data = chromium.execute_cdp_cmd("Page.captureScreenshot", {})["data"]
    seen = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert (seen[0, 0].mean() > 128) == (scheme == "light")
    assert len(np.unique(seen.reshape(-1, 3), axis=0)) > 50


def test_on_a_phone_the_opacity_stays_at_hand_while_one_scrolls_to_the_maps(chromium, folder):
    path = folder / "report.html"
    path.write_text(report(folder).html())
    opened(chromium, path, 390, 640)
    top = chromium.execute_script(
        "document.querySelector('.open').click();"
        "const dialog = document.querySelector('dialog'); dialog.scrollTop = 500;"
        "return [dialog.scrollTop, document.getElementById('dialog-opacity').getBoundingClientRect().top]"
    )
    assert top[0] > 200
    assert 0 < top[1] < 300


HOSTILE = (
    "<script>hit=1</script>",
    "</script><script src={at}/1></script>",
    "<!--<script>",
    '"><img src={at}/2 onerror=hit=1>',
    "'><svg onload=hit=1>",
    "javascript:hit=1",
    "line\nbreak\r\ttab",
    "{{at}}${hit=1}`",
    "\u202egnp.exe\u2028",
    "n" * 240,
    "&lt;script&gt; \\u003cscript\\u003e",
)


def test_names_that_are_attacks_run_nothing_and_ask_for_nothing(chromium, tmp_path):
    with listener() as (at, asked):
        names = [name.replace("{at}", at) for name in HOSTILE]
        rows = []
        for i, name in enumerate(names):
            texts = {"label": name, "truth": name[::-1], "target_label": name, "layer": name, "method": name}
            rows.append(row(f"{name.replace('/', '∕')}/{i}.png", picture=f"pictures/{i}.png", **texts))
            rows.append(row(f"{name}.png", error=name))
            rows.append(row(f"p{i}.png", problem=name, **texts))
        model = {"path": names[1], "sha256": names[3], "opset": names[4]}
        arguments = {"methods": names, "settings": {"preset": names[0]}}
        run = written(tmp_path, rows, model=model, arguments=arguments, provider={"why": names[3]})
        (tmp_path / "page.html").write_text(report(run).html())
        opened(chromium, tmp_path / "page.html")
        assert status(chromium) == f"{len(rows)} images"
        for i in range(len(rows)):
            chromium.execute_script("show(arguments[0])", i)
        chromium.execute_script(
            "document.getElementById('dialog').close(); look({ label: `=${arguments[0]}` })", names[1]
        )
        assert status(chromium).startswith("2 images")
        frame = tmp_path / "notebook.html"
        frame.write_text(f"<!DOCTYPE html>{report(run)._repr_html_()}")
        assert chromium.execute_script("return window.hit") is None
        assert requests(chromium) == []
        opened(chromium, frame)
        chromium.switch_to.frame(0)
        assert status(chromium) == f"{len(rows)} images"
        assert chromium.execute_script("return window.hit") is None
        chromium.switch_to.default_content()
        assert requests(chromium) == []
        assert asked == []
    assert chromium.get_log("browser") == []


def test_a_folder_of_trouble_is_run_and_reported_with_every_reason(chromium, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photos = tmp_path / "photos" / "cat"
    photos.mkdir(parents=True)
    image = scene(TEST_SEEDS[3]).image[..., ::-1]
    good = cv2.imencode(".jpg", image)[1].tobytes()
    with listener() as (at, asked):
        bad = {
            "cut.jpg": (good[: len(good) // 2], "cut short"),
            "empty.png": (b"", "the file is empty"),
            "text.png": (b"<svg onload=hit=1>", "not a picture"),
            "bomb.png": (bomb(30_000), "million pixels"),
            "vanishes.jpg": (good, "no such file"),
        }
        names = [
            "two words.jpg",
            'it\'s "quoted".jpg',
            "line\nbreak.jpg",
            "<script>hit=1<script>.jpg",
            f'"><img src={at.replace("/", "∕")} onerror=hit=1>.jpg',
            "n" * 251 + ".jpg",
        ]
        for name, data in {**{n: d for n, (d, _) in bad.items()}, **dict.fromkeys(names, good)}.items():
            (photos / name).write_bytes(data)
        assert len(names[-1].encode()) == 255
        assert (photos / "bomb.png").stat().st_size < 1100
        cv2.imwritemulti(str(photos / "moving.gif"), [image, image[::-1], image[:, ::-1]])
        read = store.read_file

        def vanishing(path):
            (photos / "vanishes.jpg").unlink(missing_ok=True)  # listed, and gone when its turn comes
            return read(path)

        monkeypatch.setattr(store, "read_file", vanishing)
        words = ["--batch", 4, "--workers", 1, "--method", "gradcam,saliency"]
        done = run("run", "scenes", "photos", *words, "-o", "run")
        assert (done.code, "Traceback" in done.err) == (1, False)
        assert run("runs", "verify", "run").code == 0
        assert run("report", "run").code == 0
        images = {i["path"].removeprefix("cat/"): i for i in report("run").data["images"]}
        assert set(images) == {*bad, *names, "moving.gif"}
        for name, (_, reason) in bad.items():
            assert reason in images[name]["error"]
        for name in (*names, "moving.gif"):
            assert images[name]["error"] is None
            assert images[name]["photo"]
            assert [m["method"] for m in images[name]["maps"]] == ["gradcam", "saliency"]
            assert all(m["heat"] for m in images[name]["maps"])
        opened(chromium, Path("run/report.html"))
        assert status(chromium) == f"{len(images)} images"
        for i in range(len(images)):
            chromium.execute_script("show(arguments[0])", i)
        chromium.execute_script("document.getElementById('dialog').close(); look({ state: 'error' })")
        shown = "return [...document.querySelectorAll('.cards p')].map((p) => p.textContent)"
        assert set(chromium.execute_script(shown)) == {i["error"] for i in images.values() if i["error"]}
        assert chromium.execute_script("return window.hit") is None
        assert requests(chromium) == []
        assert asked == []
    assert chromium.get_log("browser") == []


def test_a_script_that_came_in_would_not_run(chromium, folder):
    (folder / "report.html").write_text(report(folder).html())
    opened(chromium, folder / "report.html")
    with listener() as (at, asked):
        chromium.execute_script(
            "const s = document.createElement('script'); s.textContent = 'hit = 1'; document.body.append(s);"
            "const i = new Image(); i.src = arguments[0]; document.body.append(i);"
            "fetch(arguments[0]).catch(() => 0)",
            f"{at}/x.png",
        )
        assert chromium.execute_script("return window.hit") is None
        assert asked == []
    log = chromium.get_log("browser")
    assert log
    assert all("Content Security Policy" in line["message"] for line in log)


def test_more_classes_than_a_matrix_holds_are_listed_as_pairs(chromium, tmp_path):
    rows = [row(f"{i}.png", truth=f"class {i}", label=f"class {(i + i % 2) % 60}") for i in range(60)]
    path = tmp_path / "page.html"
    path.write_text(report(written(tmp_path, rows)).html())
    opened(chromium, path)
    lines = chromium.execute_script("return document.querySelectorAll('#confusion tbody tr').length")
    assert lines == 30
    assert json.loads(chromium.execute_script("return JSON.stringify(data.totals)"))["right"] == 30

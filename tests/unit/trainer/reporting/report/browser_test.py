"""Can a report be read? In a real browser, on a phone and a wide screen, light and dark, by keyboard.

It needs Debian's packages chromium and chromium-driver, and the package selenium; else it is skipped.
"""

import shutil

import pytest

from tests.unit.trainer.reporting.report import made_up
from trainer.reporting.report import page

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
webdriver = pytest.importorskip("selenium.webdriver", reason="needs the package selenium")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="needs Debian's packages chromium and chromium-driver"
)

PHONE, WIDE = 375, 1600
# Of the text at an element, and of what is drawn there: WCAG's ratio, and the least one that AA allows.
CONTRAST = """
const parse = text => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
  .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
const behind = element => {
  for (let e = element; e; e = e.parentElement) {
    const color = parse(getComputedStyle(e).backgroundColor);
    if (color.length < 4 || color[3] > 0) return color;
  }
  return parse(getComputedStyle(document.body).backgroundColor);
};
const ratio = (a, b) => {
  const [x, y] = [light(a), light(b)].sort((p, q) => q - p);
  return (x + .05) / (y + .05);
};
const low = [];
let checked = 0;
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const element = walk.currentNode.parentElement, style = getComputedStyle(element);
  const isSeen = element.getClientRects().length && !/SCRIPT|STYLE|TITLE/i.test(element.tagName);
  if (!walk.currentNode.data.trim() || !isSeen) continue;
  const isSvg = element instanceof SVGElement;
  const size = parseFloat(style.fontSize), large = size >= 24 || size >= 18.66 && style.fontWeight >= 700;
  const found = ratio(parse(isSvg ? style.fill : style.color), behind(element));
  checked++;
  if (found < (large ? 3 : 4.5)) low.push([walk.currentNode.data.trim(), style.color, found]);
}
for (const curve of document.querySelectorAll("path.curve, circle.dot")) {
  const style = getComputedStyle(curve);
  const drawn = parse(curve.tagName == "path" ? style.stroke : style.fill);
  checked++;
  if (ratio(drawn, behind(curve)) < 3) low.push([curve.getAttribute("class"), style.stroke]);
}
return [checked, low];
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (
        "headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync",
        "disable-background-networking", "disable-component-update", "hide-scrollbars",
        f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(
        options=options, service=webdriver.chrome.service.Service(executable_path=DRIVER)
    )
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A page of one run, and one of two, by the number of runs."""
    folder = tmp_path_factory.mktemp("reports")
    runs = [made_up.workdir(folder / name, seed=seed) for seed, name in enumerate(["a", "b"])]
    for count in (1, 2):
        page.write(runs[:count], folder / f"{count}.html")
    return {count: folder / f"{count}.html" for count in (1, 2)}


def show(browser, path, width, scheme="light", height=900):
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width == PHONE}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(path.as_uri())


@pytest.mark.parametrize("width", [PHONE, WIDE])
@pytest.mark.parametrize("count", [1, 2])
def test_nothing_is_wider_than_the_screen_and_every_plot_is_there(browser, pages, count, width):
    show(browser, pages[count], width)
    assert browser.execute_script("return document.documentElement.scrollWidth") == width
    assert browser.get_log("browser") == []
    plots = browser.execute_script("""
      return [...document.querySelectorAll("svg.chart, svg.strip")].map(svg => {
        const box = svg.getBoundingClientRect();
        return [box.width, box.height, svg.querySelectorAll("path, rect, circle").length,
                svg.closest("figure>div:not(.by-step), details:not([open])") !== null,
                box.left, box.right];
      })""")
    visible = [plot for plot in plots if not plot[3]]
    assert len(visible) >= 5 + 2 * count
    for width_there, height, marks, _, left, right in visible:
        assert width_there > 100 and height >= 20 and marks
        assert left >= 0 and right <= width
    loaded = browser.execute_script(
        "return performance.getEntriesByType('resource').map(one => one.name)"
    )
    assert [name for name in loaded if not name.startswith("data:")] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_curves_have_the_contrast_that_wcag_aa_asks_for(browser, pages, scheme):
    for count in (1, 2):
        show(browser, pages[count], WIDE, scheme)
        browser.execute_script(
            "document.querySelectorAll('details').forEach(one => one.open = true)"
        )
        checked, low = browser.execute_script(CONTRAST)
        assert checked > 200 and low == []
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    is_dark = sum(map(int, background[4:-1].split(","))) < 3 * 128
    assert is_dark == (scheme == "dark")


def test_every_control_is_reached_by_the_tab_key_in_the_order_of_the_page(browser, pages):
    keys = webdriver.common.keys.Keys
    show(browser, pages[1], WIDE)
    wanted = browser.execute_script("""
      const all = [...document.querySelectorAll("a[href], input, summary, [tabindex]")];
      const shown = all.filter(one => one.getClientRects().length && !(one.name == "by" && !one.checked));
      return shown.map((one, i) => { one.id = one.id || "stop-" + i; return one.id; })""")
    reached = []
    for _ in wanted:
        browser.switch_to.active_element.send_keys(keys.TAB)
        reached.append(browser.execute_script("return document.activeElement.id"))
        outline = browser.execute_script("""
          const one = document.activeElement, seen = one.name == "by" ? one.nextElementSibling : one;
          return getComputedStyle(seen).outlineStyle""")
        assert outline == "solid", reached[-1]
    assert reached == wanted and len(wanted) > 15


def test_curves_are_shown_by_time_and_read_with_the_arrow_keys(browser, pages):
    keys = webdriver.common.keys.Keys
    show(browser, pages[1], WIDE)

    def shown(kind):
        return browser.execute_script(
            f"return document.querySelector('.charts .{kind} svg').getClientRects().length"
        )

    def read():
        return browser.find_element("css selector", ".charts output").text

    assert (shown("by-step"), shown("by-time")) == (1, 0)
    chart = browser.find_element("css selector", ".charts .by-step svg")
    browser.execute_script("arguments[0].focus()", chart)
    assert read() == "300 · train 0.1333 · validation 0.1467 · test 0.2"
    browser.switch_to.active_element.send_keys(keys.ARROW_LEFT)
    assert read().startswith("290 · train 0.1379")
    browser.find_element("css selector", "#by-step").send_keys(keys.ARROW_RIGHT)
    assert (shown("by-step"), shown("by-time")) == (0, 1)
    assert browser.get_log("browser") == []

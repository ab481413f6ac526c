#!/usr/bin/env bash
# Checks a comparison's page in headless Chromium, in frames as wide as a desktop and as a phone:
# sorting, values under the pointer, links, sideways scrolling, and that nothing is fetched.
#
#   scripts/page.sh [PAGE]      default: results/small-audio/report.html
#   SHOTS=FOLDER                also writes screenshots there: light, dark, narrow and printed
#
# Skipped where Chromium is not installed (Debian, Ubuntu: apt-get install chromium).
set -euo pipefail
cd "$(dirname "$0")/.."
page=$(realpath "${1:-results/small-audio/report.html}")
most=1000000
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
if [ -z "$browser" ]; then
    echo "page: skipped, Chromium is not installed"
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
run() {
    rm -rf "$work/profile"
    timeout 120 "$browser" --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
        --disable-background-networking --disable-component-update --disable-sync --hide-scrollbars \
        --user-data-dir="$work/profile" "$@" 2>/dev/null
}
# The page as it is, its policy included, in two frames of a page with the checks. `frame` prints one.
frame() {
    printf '<iframe id="%s" width="%s" height="%s" style="border:0" srcdoc="' "$1" "$2" "$3"
    sed 's/&/\&amp;/g; s/"/\&quot;/g' "$page"
    printf '"></iframe>'
}
{
    printf '<!doctype html><body style="margin:0">'
    frame wide 1280 900
    frame phone 390 844
    cat <<'HTML'
<script>
const failed = [];
const check = (what, holds) => holds || failed.push(what);
const inside = (id) => document.getElementById(id).contentDocument;
function checks() {
  const page = inside("wide");
  // Sorting.
  const table = page.querySelector("table");
  const head = [...table.querySelectorAll("th.n")].pop();
  const number = (row) => parseFloat(row.cells[head.cellIndex].textContent);
  const values = () => [...table.tBodies[0].rows].map(number).filter((v) => !isNaN(v));
  const ordered = (sign) => values().every((v, i, all) => i === 0 || sign * (v - all[i - 1]) >= 0);
  const before = values().join();
  head.click();
  check("a click sorts from the highest", values().length > 1 && ordered(-1));
  const highest = values().join();
  head.click();
  check("a second click sorts from the lowest", ordered(1) && values().join() !== highest);
  check("sorting loses no row", values().sort().join() === before.split(",").map(Number).sort().join());
  check("the order is told", head.getAttribute("aria-sort") === "ascending");
  // Values under the pointer.
  const marks = page.querySelectorAll("figure svg [data-value]");
  check("charts tell values", marks.length > 10);
  const value = page.getElementById("value");
  check("no value is shown at first", value && value.hidden);
  marks[0].dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
  check("a value is shown", !value.hidden && value.textContent === marks[0].dataset.value && /\d/.test(value.textContent));
  page.body.dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
  check("a value goes away", value.hidden);
  // Contents.
  check("cells tell seeds", page.querySelectorAll("td[title*='seed ']").length > 0);
  check("a best value is marked", page.querySelectorAll("td.best").length > 0);
  const after = (first, second) => page.querySelector(first).compareDocumentPosition(page.querySelector(second)) & 4;
  check("summary, figure, contents, tables", after("#summary", "figure") && after("figure", "nav") && after("nav", "table"));
  const links = [...page.querySelectorAll("a")].map((a) => a.getAttribute("href"));
  check("links are relative", links.every((l) => !/^[a-z]+:|^\//.test(l)));
  check("anchors exist", links.filter((l) => l[0] === "#").every((l) => page.getElementById(l.slice(1))));
  // Sideways scrolling.
  for (const id of ["wide", "phone"]) {
    const { documentElement: root, body } = inside(id);
    const width = document.getElementById(id).clientWidth;
    check(`${id}: ${Math.max(root.scrollWidth, body.scrollWidth)} pixels on a screen of ${width}`,
      Math.max(root.scrollWidth, body.scrollWidth) <= width);
    const entries = document.getElementById(id).contentWindow.performance.getEntriesByType("resource");
    check("nothing is fetched", entries.every((e) => e.name.startsWith("data:")));
  }
  document.documentElement.dataset.links = links.filter((l) => l[0] !== "#").join(" ");
  document.documentElement.dataset.result = failed.length ? "FAILED " + failed.join("; ") : "PASSED";
}
addEventListener("load", () => {
  try { checks(); } catch (error) { document.documentElement.dataset.result = "FAILED " + error; }
});
</script>
HTML
} >"$work/page.html"
dom=$(run --dump-dom --virtual-time-budget=5000 "file://$work/page.html")
attribute() { grep -o "data-$1=\"[^\"]*\"" <<<"$dom" | tail -1 | sed "s/data-$1=\"//; s/\"\$//"; }
result=$(attribute result || true)
for link in $(attribute links | tr ' ' '\n' | sort -u); do
    [ -e "$(dirname "$page")/$(printf '%b' "${link//%/\\x}")" ] || result="FAILED no file for the link $link"
done
size=$(stat -c %s "$page")
[ "$size" -le "$most" ] || result="FAILED more than $most bytes"
if [ -n "${SHOTS:-}" ]; then
    mkdir -p "$SHOTS"
    run --window-size=1280,2600 --screenshot="$SHOTS/light.png" "file://$page"
    sed 's/@media screen and (prefers-color-scheme: dark)/@media screen/' "$page" >"$work/dark.html"
    run --window-size=1280,2600 --screenshot="$SHOTS/dark.png" "file://$work/dark.html"
    { printf '<!doctype html><body style="margin:0">'; frame phone 390 2600; } >"$work/phone.html"
    run --window-size=500,2600 --screenshot="$SHOTS/narrow.png" "file://$work/phone.html"
    run --no-pdf-header-footer --print-to-pdf="$SHOTS/printed.pdf" "file://$page"
fi
echo "page: $size bytes, ${result:-FAILED the page did not load}"
[[ $result == PASSED ]]

//! SVGs of ours with the same drawing in fewer bytes, to stand inside the page.

/// Attributes that the page need not repeat: defaults, and what the root element passes on.
const REPEATED: [&str; 7] = [
    " opacity=\"1\"",
    " xmlns=\"http://www.w3.org/2000/svg\"",
    " font-family=\"DejaVu Sans, Verdana, sans-serif\"",
    " text-anchor=\"start\"",
    " font-size=\"140\"",
    " fill=\"#222222\"",
    " fill=\"none\" pointer-events=\"all\"",
];
/// How far a line may move where it loses points, in tenths of a pixel: too little to see.
const TOLERANCE: f64 = 4.0;
/// Lines of fewer points keep them all.
const LONG: usize = 8;

/// A point, in tenths of a pixel.
type Point = (i64, i64);

/// Leaves out repeated attributes and points that cannot be seen, makes lines relative, and gives
/// shapes of one style that follow each other one path.
pub(super) fn compact(svg: &str) -> String {
    let svg = REPEATED.iter().fold(svg.to_owned(), |svg, text| svg.replace(text, ""));
    let svg = svg.replacen("<svg", "<svg font-size=\"140\" fill=\"#222222\"", 1);
    let mut out = String::new();
    let mut open: Option<String> = None;
    let mut pen = None;
    for line in svg.lines() {
        let shape = Shape::of(line);
        if open.is_some() && open.as_ref() != shape.as_ref().map(|s| &s.style) {
            out += "\"/>";
            open = None;
        }
        match shape {
            Some(shape) => {
                if open.is_none() {
                    out += &format!("<path {} d=\"", shape.style);
                    pen = None;
                }
                out += &relative(&shape.points, &mut pen);
                if shape.closed {
                    out.push('z');
                    // A closed path ends where it began.
                    pen = shape.points.first().copied();
                }
                open = Some(shape.style);
            }
            None => out += line,
        }
    }
    out
}

/// A line, a polygon or a disc.
struct Shape {
    /// Attributes of its path.
    style: String,
    points: Vec<Point>,
    closed: bool,
}

impl Shape {
    /// The shape that a line of an SVG of plotters holds.
    fn of(line: &str) -> Option<Self> {
        let element = |name: &str| line.strip_prefix(name)?.strip_suffix(" \"/>")?.split_once(" points=\"");
        if let Some((style, points)) = element("<polyline ") {
            return Some(Self { style: style.into(), points: thinned(&points_of(points)), closed: false });
        }
        if let Some((style, points)) = element("<polygon ") {
            return Some(Self { style: style.into(), points: thinned(&points_of(points)), closed: true });
        }
        // A disc is a line without length, whose ends are round.
        let disc = line.strip_prefix("<circle cx=\"")?.strip_suffix("\" stroke=\"none\" stroke-width=\"1\"/>")?;
        let (x, rest) = disc.split_once("\" cy=\"")?;
        let (y, rest) = rest.split_once("\" r=\"")?;
        let (radius, fill) = rest.split_once("\" fill=\"")?;
        let at = (x.parse().ok()?, y.parse().ok()?);
        let width = 2 * radius.parse::<i64>().ok()?;
        let style = format!("stroke=\"{fill}\" stroke-width=\"{width}\" stroke-linecap=\"round\"");
        Some(Self { style, points: vec![at, at], closed: false })
    }
}

fn points_of(text: &str) -> Vec<Point> {
    text.split(' ')
        .filter_map(|p| p.split_once(','))
        .filter_map(|(x, y)| Some((x.parse().ok()?, y.parse().ok()?)))
        .collect()
}

/// The points that a long line needs (Douglas and Peucker 1973).
fn thinned(points: &[Point]) -> Vec<Point> {
    let last = points.len().saturating_sub(1);
    if points.len() < LONG {
        return points.to_vec();
    }
    let mut kept = vec![false; points.len()];
    (kept[0], kept[last]) = (true, true);
    let mut parts = vec![(0, last)];
    while let Some((from, to)) = parts.pop() {
        let far = (from + 1..to).map(|i| (i, distance(points[i], points[from], points[to])));
        if let Some((i, away)) = far.max_by(|a, b| a.1.total_cmp(&b.1))
            && away > TOLERANCE
        {
            kept[i] = true;
            parts.extend([(from, i), (i, to)]);
        }
    }
    points.iter().zip(kept).filter(|p| p.1).map(|p| *p.0).collect()
}

/// From a point to the straight line between two others.
fn distance(point: Point, from: Point, to: Point) -> f64 {
    let vector = |a: Point, b: Point| ((b.0 - a.0) as f64, (b.1 - a.1) as f64);
    let ((dx, dy), (px, py)) = (vector(from, to), vector(from, point));
    let length = dx.hypot(dy);
    if length == 0.0 { px.hypot(py) } else { (dx * py - dy * px).abs() / length }
}

/// Points as path data: `Mx,yldx,dy…`, or `mdx,dy dx,dy…` from where the pen is.
fn relative(points: &[Point], pen: &mut Option<Point>) -> String {
    let mut out = String::new();
    for &(x, y) in points {
        out += &match *pen {
            None => format!("M{x},{y}l"),
            Some((x0, y0)) => {
                let before = match out.as_str() {
                    "" => "m",
                    start if start.ends_with('l') => "",
                    _ => " ",
                };
                format!("{before}{},{}", x - x0, y - y0)
            }
        };
        *pen = Some((x, y));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_of_one_style_share_a_path() {
        let stroke = |color: &str, points: &str| {
            format!("<polyline fill=\"none\" opacity=\"1\" stroke=\"{color}\" points=\"{points} \"/>\n")
        };
        let svg =
            format!("<svg>\n{}{}{}</svg>\n", stroke("a", "0,0 1,1"), stroke("a", "2,2 3,3"), stroke("b", "4,4 5,5"));
        let expected = "<svg font-size=\"140\" fill=\"#222222\"><path fill=\"none\" stroke=\"a\" d=\"M0,0l1,1m1,1 1,1\"/>\
                        <path fill=\"none\" stroke=\"b\" d=\"M4,4l1,1\"/></svg>";
        assert_eq!(compact(&svg), expected);
        let square = |x| format!("<polygon opacity=\"1\" fill=\"a\" points=\"{x},0 {x},9 5,9 \"/>\n");
        let squares = compact(&format!("<svg>\n{}{}</svg>", square(0), square(7)));
        assert!(squares.contains("<path fill=\"a\" d=\"M0,0l0,9 5,0zm7,0 0,9 -2,0z\"/>"), "{squares}");
        let disc = |x| {
            format!(
                "<circle cx=\"{x}\" cy=\"2\" r=\"5\" opacity=\"1\" fill=\"a\" stroke=\"none\" stroke-width=\"1\"/>\n"
            )
        };
        let discs = compact(&format!("<svg>\n{}{}</svg>", disc(1), disc(4)));
        assert!(
            discs.contains("stroke=\"a\" stroke-width=\"10\" stroke-linecap=\"round\" d=\"M1,2l0,0m3,0 0,0\""),
            "{discs}"
        );
    }

    #[test]
    fn hints_and_texts_stay() {
        let svg = "<svg>\n<circle cx=\"1\" cy=\"2\" r=\"80\" fill=\"none\" pointer-events=\"all\"><title>5 %</title></circle>\n\
                   <text x=\"1\">\na &lt; b\n</text>\n</svg>";
        let out = compact(svg);
        assert!(
            out.contains("<circle cx=\"1\" cy=\"2\" r=\"80\"><title>5 %</title></circle><text x=\"1\">a &lt; b</text>"),
            "{out}"
        );
    }

    #[test]
    fn only_points_that_cannot_be_seen_are_left_out() {
        let straight: Vec<Point> = (0..50).map(|i| (10 * i, 3 * (i % 2))).collect();
        assert_eq!(thinned(&straight), [(0, 0), (490, 3)]);
        let zigzag: Vec<Point> = (0..50).map(|i| (10 * i, 30 * (i % 2))).collect();
        assert_eq!(thinned(&zigzag), zigzag);
        assert_eq!(thinned(&straight[..5]), straight[..5], "short lines keep their points");
        assert!(thinned(&[]).is_empty());
    }
}

//! Line charts and bars as SVG: text that scales with the page, colours from its style sheet.

use std::fmt::Write;

/// A line chart.
pub(crate) struct Chart<'c> {
    /// What it shows, for those who cannot see it.
    pub(crate) title: &'c str,
    pub(crate) x_label: &'c str,
    pub(crate) y_label: &'c str,
    pub(crate) lines: Vec<Line>,
    /// Places on the x axis that are marked, each with the style of the line that they belong to.
    pub(crate) marks: Vec<(f64, usize)>,
}

/// Points in ascending order of x.
pub(crate) struct Line {
    /// Colour and dashes: `s0`, `s1` ... in the style sheet.
    pub(crate) style: usize,
    /// A further seed is drawn fainter than the first.
    pub(crate) faint: bool,
    pub(crate) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 300.0;
/// Margins for labels.
const LEFT: f64 = 62.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 44.0;

impl Chart<'_> {
    /// The SVG; empty where there is nothing to draw.
    pub(crate) fn svg(&self) -> String {
        let all = || self.lines.iter().flat_map(|line| &line.points).filter(|(x, y)| x.is_finite() && y.is_finite());
        let (xs, ys) = (Axis::over(all().map(|point| point.0)), Axis::over(all().map(|point| point.1)));
        let (Some(xs), Some(ys)) = (xs, ys) else { return String::new() };
        // Values fill the width; the other axis ends at round numbers.
        let ys = ys.rounded();
        let x = |value: f64| LEFT + (value - xs.least) / xs.length() * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - (value - ys.least) / ys.length() * (HEIGHT - TOP - BOTTOM);
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n<g class=\"grid\">",
            escape(self.title)
        );
        for tick in ys.ticks() {
            let _ = write!(svg, "<path d=\"M{LEFT} {:.1}H{}\"/>", y(tick), WIDTH - RIGHT);
        }
        svg += "</g>\n";
        for (place, style) in self.marks.iter().filter(|(place, _)| (xs.least..=xs.most).contains(place)) {
            let _ = write!(svg, "<path class=\"mark s{style}\" d=\"M{:.1} {TOP}V{}\"/>", x(*place), HEIGHT - BOTTOM);
        }
        svg += "\n<g class=\"labels\">";
        for tick in ys.ticks() {
            let _ = write!(
                svg,
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 7.0,
                y(tick) + 4.0,
                ys.text(tick)
            );
        }
        for tick in xs.ticks() {
            let place = x(tick);
            let _ = write!(
                svg,
                "<path d=\"M{place:.1} {}v5\"/><text x=\"{place:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                HEIGHT - BOTTOM,
                HEIGHT - BOTTOM + 19.0,
                xs.text(tick)
            );
        }
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {TOP}V{bottom}H{right}\"/><text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">{}</text>\
             <text transform=\"translate(15 {centre}) rotate(-90)\" text-anchor=\"middle\">{}</text></g>",
            escape(self.x_label),
            escape(self.y_label),
            bottom = HEIGHT - BOTTOM,
            right = WIDTH - RIGHT,
            middle = (LEFT + WIDTH - RIGHT) / 2.0,
            below = HEIGHT - 6.0,
            centre = (TOP + HEIGHT - BOTTOM) / 2.0,
        );
        for line in self.lines.iter().filter(|line| !line.points.is_empty()) {
            let faint = if line.faint { " faint" } else { "" };
            let dense = if line.points.len() > 150 { " dense" } else { "" };
            let _ = write!(svg, "<path class=\"line s{}{faint}{dense}\" d=\"", line.style);
            for (position, point) in thinned(&line.points).into_iter().enumerate() {
                let _ = write!(svg, "{}{:.1} {:.1}", if position == 0 { 'M' } else { 'L' }, x(point.0), y(point.1));
            }
            svg += "\"/>\n";
        }
        svg + "</svg>\n"
    }
}

/// An axis from its least value to its most.
#[derive(Clone, Copy)]
struct Axis {
    least: f64,
    most: f64,
    /// Between two ticks: 1, 2 or 5 times a power of ten.
    step: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>) -> Option<Self> {
        let (least, most) =
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| (least.min(value), most.max(value)));
        // A single value still has an axis around it.
        let room = if most > least { 0.0 } else { least.abs().max(1.0) * 0.1 };
        least.is_finite().then(|| Self::from_to(least - room, most + room))
    }

    fn from_to(least: f64, most: f64) -> Self {
        let rough = (most - least) / 6.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
        Self { least, most, step: step.unwrap_or(rough) }
    }

    fn rounded(self) -> Self {
        let least = (self.least / self.step).floor() * self.step;
        Self { least, most: (self.most / self.step).ceil() * self.step, step: self.step }
    }

    fn length(self) -> f64 {
        self.most - self.least
    }

    fn ticks(self) -> impl Iterator<Item = f64> {
        let (first, slack) = ((self.least / self.step - 1e-6).ceil(), self.step * 1e-6);
        (0..20)
            .map(move |tick| (first + f64::from(tick)) * self.step)
            .take_while(move |tick| *tick <= self.most + slack)
    }

    fn text(self, tick: f64) -> String {
        let digits = (-self.step.log10()).ceil().clamp(0.0, 8.0) as usize;
        // Not -0.
        format!("{:.digits$}", tick + 0.0)
    }
}

/// At most about 3,000 points: of each stretch of a longer line the least and the greatest, so that peaks stay.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    const STRETCHES: usize = 1500;
    if points.len() <= 2 * STRETCHES {
        return points.to_vec();
    }
    let by_value = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
    let stretch = |part: &[(f64, f64)]| {
        let mut ends: Vec<(f64, f64)> =
            part.iter().min_by(by_value).into_iter().chain(part.iter().max_by(by_value)).copied().collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        ends
    };
    points.chunks(points.len().div_ceil(STRETCHES)).flat_map(stretch).collect()
}

/// Text that HTML takes as text.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let axis = Axis::from_to(2.93, 4.71);
        let texts: Vec<String> = axis.ticks().map(|tick| axis.text(tick)).collect();
        assert_eq!(texts, ["3.0", "3.5", "4.0", "4.5"]);
        let rounded = axis.rounded();
        assert_eq!((rounded.least, rounded.most), (2.5, 5.0));
        let zero = Axis::from_to(-1.0, 1.0);
        assert!(zero.ticks().any(|tick| zero.text(tick) == "0.0"), "no minus before zero");
        assert!(Axis::over(std::iter::empty()).is_none());
        assert!(Axis::over([3.0].into_iter()).is_some_and(|axis| axis.length() > 0.0));
    }

    #[test]
    fn long_lines_keep_their_peaks() {
        let mut points: Vec<(f64, f64)> = (0..100_000).map(|x| (f64::from(x), 1.0)).collect();
        points[77_777].1 = 9.0;
        let thin = thinned(&points);
        assert!(thin.len() <= 3000 && thin.contains(&(77_777.0, 9.0)), "{}", thin.len());
        assert!(thin.is_sorted_by(|a, b| a.0 <= b.0));
    }

    #[test]
    fn a_chart_of_nothing_is_nothing_and_text_is_escaped() {
        let chart = |lines| Chart { title: "a < b", x_label: "x", y_label: "\"y\"", lines, marks: Vec::new() };
        assert_eq!(chart(Vec::new()).svg(), "");
        let svg = chart(vec![Line { style: 1, faint: false, points: vec![(0.0, 1.0), (2.0, 3.0)] }]).svg();
        assert!(svg.contains("a &lt; b") && svg.contains("&quot;y&quot;") && svg.contains("line s1"), "{svg}");
    }
}

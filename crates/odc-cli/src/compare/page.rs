//! compare.html: one page that needs nothing but itself.

use std::fmt::Write;

use odc_trainer::{Method, Spread};

use super::chart::{Chart, Line, escape};
use super::numbers::{Comparison, Group, RunNumbers, spread_text};
use crate::output::duration;

/// Styles of lines in the style sheet.
const STYLES: usize = 6;

/// The page.
pub(crate) fn page(comparison: &Comparison) -> String {
    let labels: Vec<&str> = comparison.groups.iter().map(|group| group.label.as_str()).collect();
    let title = labels.join(" beside ");
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<title>{0}</title>\n<style>\n{1}</style>\n<h1>{0}</h1>\n",
        escape(&title),
        include_str!("page.css")
    );
    page += &introduction(comparison);
    page += &scores(comparison);
    page += &losses(comparison);
    page += &steadiness(comparison);
    page += &labels_over_time(comparison);
    page += &times(comparison);
    page += &settings(comparison);
    let made = &comparison.made;
    let _ = write!(
        page,
        "<footer><p><code>{}</code></p><p>Made on {} (UTC) by odc {}, on {}; {} thread(s). Logs of single runs are in their \
         folders; every number of this page is in compare.json.</p></footer>\n</html>\n",
        escape(&made.command),
        made.date,
        made.version,
        escape(&made.machine),
        made.threads
    );
    page
}

fn introduction(comparison: &Comparison) -> String {
    let runs = comparison.groups.iter().map(|group| {
        let seeds: Vec<String> = group.runs.iter().map(|run| run.seed.to_string()).collect();
        let first = &group.runs[0];
        format!(
            "{}: seed {}, {} epochs of {} iterations",
            group.label,
            seeds.join(", "),
            first.epochs,
            first.iterations_per_epoch
        )
    });
    let mut text = format!(
        "<p class=\"quiet\">{}; images of <code>{}</code>. {}.</p>\n",
        escape(&comparison.network),
        escape(&comparison.data),
        escape(&runs.collect::<Vec<_>>().join("; "))
    );
    if !all_alike(comparison, |run| (run.epochs, run.iterations_per_epoch)) {
        text += "<p><strong>These runs are not equally long.</strong> Scores and curves are not of equal effort.</p>\n";
    }
    text
}

fn all_alike<T: PartialEq>(comparison: &Comparison, value: fn(&RunNumbers) -> T) -> bool {
    let mut values = comparison.groups.iter().flat_map(|group| &group.runs).map(value);
    values.next().is_none_or(|first| values.all(|value| value == first))
}

fn scores(comparison: &Comparison) -> String {
    let Some(images) = &comparison.scored_on else {
        return "<h2>What the features are worth</h2>\n<p>The images have no true labels: nothing can be scored.</p>\n"
            .to_owned();
    };
    let knn = format!("kNN, k {}", comparison.knn_k);
    let head = ["", &knn, "linear", "linear, published protocol"];
    let rows: Vec<[String; 4]> = comparison
        .rows()
        .into_iter()
        .map(|[label, knn, linear, published, ..]| [label, knn, linear, published])
        .collect();
    let several = comparison.groups.iter().any(|group| group.runs.len() > 1);
    let spread = if several {
        "Mean ± standard deviation over seeds; with so few, the deviation itself is a rough guess, and a difference that is not \
         several times as large may be chance."
    } else {
        "One seed each: another seed moves such numbers too, often by a percentage point, so small differences mean nothing."
    };
    format!(
        "<h2>What the features are worth</h2>\n{}<p>Percent of test images whose class is named rightly by frozen features after \
         the average pool ({}). <em>kNN</em>: weighted votes of nearest neighbours. <em>Linear</em>: logistic regression, the \
         best of four weight decays, chosen on the test images for every row alike. <em>Published protocol</em>: SGD with \
         learning rate 30, made for the 2,048 features of a ResNet-50; with few features it does worse than the features \
         deserve. {spread}</p>\n",
        table(&head, &rows),
        escape(images)
    )
}

fn losses(comparison: &Comparison) -> String {
    let line = |run: &RunNumbers, within: (u64, u64)| {
        let inside = run.loss.iter().filter(|(iteration, _)| (within.0..=within.1).contains(iteration));
        inside.map(|(iteration, loss)| (*iteration as f64, *loss)).collect::<Vec<(f64, f64)>>()
    };
    let first_runs =
        || comparison.groups.iter().enumerate().filter_map(|(style, group)| Some((style, group.runs.first()?)));
    let chart = |title: &'static str, within: (u64, u64)| {
        let marks = first_runs().flat_map(|(style, run)| {
            let again =
                run.clusterings.iter().filter(move |place| **place > 0 && (within.0..=within.1).contains(*place));
            again.map(move |place| (*place as f64, style % STYLES))
        });
        Chart {
            title,
            x_label: "iteration",
            y_label: "loss",
            lines: first_runs()
                .map(|(style, run)| Line { style: style % STYLES, faint: false, points: line(run, within) })
                .collect(),
            marks: marks.collect(),
        }
        .svg()
    };
    let end = first_runs().map(|(_, run)| run.iterations).max().unwrap_or(0);
    let per_epoch = first_runs().map(|(_, run)| run.iterations_per_epoch).max().unwrap_or(1);
    let middle = (end / per_epoch.max(1) / 2) * per_epoch;
    let near = (middle.saturating_sub(2 * per_epoch), (middle + 2 * per_epoch).min(end));
    let per_line = first_runs().map(|(_, run)| run.iterations_per_line).max().unwrap_or(1);
    let each =
        if per_line == 1 { "of each batch".to_owned() } else { format!("averaged over up to {per_line} iterations") };
    format!(
        "<h2>Loss</h2>\n{}<figure>{}<figcaption>The loss {each}; the first seed of each, long lines without dashes. Dotted vertical lines: training waits \
         while all images are clustered anew.</figcaption></figure>\n<figure>{}<figcaption>The same around the middle of the \
         run: two epochs before, two after.</figcaption></figure>\n<p>Levels are not to be compared. Each loss is measured \
         against labels that the method itself made: Deep Clustering's are fixed for an epoch and other ones in the next, so \
         each epoch solves another problem with a new classifier; those of Online Deep Clustering move a little with every \
         batch; rotation prediction has four classes. Weights of the loss differ too. A lower loss may mean easier labels, not \
         better features.</p>\n",
        legend(comparison),
        chart("Loss over the whole run", (0, end)),
        chart("Loss around the middle of the run", near)
    )
}

fn steadiness(comparison: &Comparison) -> String {
    let rows: Vec<[String; 4]> = comparison
        .groups
        .iter()
        .map(|group| {
            [
                group.label.clone(),
                spread_text(group.loss_variance, 4),
                spread_text(group.jump_at_borders, 3),
                spread_text(group.jump_in_the_middle, 3),
            ]
        })
        .collect();
    let head = ["", "variance in a window", "jump at a border", "the same in mid-epoch"];
    let first = &comparison.groups[0].runs[0];
    let averaged = if all_alike(comparison, |run| run.iterations_per_line == 1) {
        ""
    } else {
        " <strong>Not every iteration of these runs was logged:</strong> a logged loss is a mean over several, which makes \
         variances smaller than those of single batches."
    };
    format!(
        "<h2>Steadiness</h2>\n{}<p><em>Variance in a window</em>: the variance of the loss within a sliding window of {} \
         iterations, one epoch, so that each window holds one border; the mean over all windows behind the first epoch. It \
         holds the noise of single batches and the trend as well. <em>Jump at a border</em>: |mean loss of the {} iterations \
         after an epoch's end − mean of as many before|, the mean over all borders. Noise alone makes it more than nothing, \
         so the last column has the same in the middle of epochs: only what lies above it belongs to the borders.{averaged} \
         </p>\n",
        table(&head, &rows),
        first.variance_window,
        first.jump_window
    )
}

fn labels_over_time(comparison: &Comparison) -> String {
    let chart = |title: &'static str, y_label: &'static str, series: fn(&RunNumbers) -> &Vec<(f64, f64)>| {
        let lines = comparison.groups.iter().enumerate().flat_map(|(style, group)| {
            group.runs.iter().enumerate().map(move |(seed, run)| Line {
                style: style % STYLES,
                faint: seed > 0,
                points: series(run).clone(),
            })
        });
        Chart { title, x_label: "epochs done", y_label, lines: lines.collect(), marks: Vec::new() }.svg()
    };
    let figures = [
        (
            chart("NMI of clusters and true labels", "NMI with true labels", |run| &run.nmi),
            "Normalised mutual information of clusters and true labels. It grows with the number of clusters even for labels \
             that mean nothing, so only runs of the same K can be compared; true labels were used for nothing else.",
        ),
        (
            chart("NMI of clusters with those an epoch before", "NMI with the epoch before", |run| &run.nmi_previous),
            "The same measure between the clusters of an epoch and those of the epoch before. High means settled, not right.",
        ),
        (
            chart("Share of images that changed cluster", "share re-assigned", |run| &run.reassigned),
            "Share of images that are in another cluster than an epoch before, when clusters are matched as well as they can be. \
             Clusters that were drawn anew can agree by matching only; those that moved keep their names.",
        ),
    ];
    let mut text = String::new();
    for (svg, caption) in figures.iter().filter(|(svg, _)| !svg.is_empty()) {
        let _ = writeln!(text, "<figure>{svg}<figcaption>{caption}</figcaption></figure>");
    }
    if text.is_empty() {
        return text;
    }
    let without: Vec<&str> = comparison
        .groups
        .iter()
        .filter(|group| group.method == Method::Rotation)
        .map(|group| group.label.as_str())
        .collect();
    let without = if without.is_empty() {
        String::new()
    } else {
        format!("<p>{} has no clusters.</p>\n", escape(&without.join(", ")))
    };
    format!(
        "<h2>Labels over time</h2>\n{}{text}{without}<p>Every seed is drawn, the first one strongest. Deep Clustering's labels \
         are shown where they are made, at the start of an epoch; those of Online Deep Clustering at the start of the run and \
         at the end of every epoch.</p>\n",
        legend(comparison)
    )
}

fn times(comparison: &Comparison) -> String {
    const PARTS: [&str; 6] =
        ["waiting for data", "forward", "backward and SGD", "memories", "features for clustering", "clustering"];
    let of = |group: &Group| -> [Option<Spread>; 6] {
        let spread =
            |value: &dyn Fn(&RunNumbers) -> f64| Spread::of(&group.runs.iter().map(value).collect::<Vec<f64>>());
        [
            spread(&|run| run.seconds.data),
            spread(&|run| run.seconds.forward),
            spread(&|run| run.seconds.backward),
            spread(&|run| run.seconds.memory),
            spread(&|run| run.seconds_extracting),
            spread(&|run| run.seconds_clustering),
        ]
    };
    let mean = |spread: Option<Spread>| spread.map_or(0.0, |spread| spread.mean);
    let longest = comparison.groups.iter().map(|group| mean(group.seconds_per_epoch)).fold(1e-9, f64::max);
    let (mut bars, mut rows) = (String::new(), Vec::new());
    for group in &comparison.groups {
        let parts = of(group);
        let _ = write!(
            bars,
            "<div>{}: {}</div><div class=\"bar\">",
            escape(&group.label),
            seconds(mean(group.seconds_per_epoch))
        );
        for (style, part) in parts.iter().enumerate() {
            let _ = write!(bars, "<i class=\"p{style}\" style=\"width:{:.2}%\"></i>", 100.0 * mean(*part) / longest);
        }
        bars += "</div>\n";
        let mut row = vec![group.label.clone()];
        row.extend(parts.iter().map(|part| spread_text(*part, 2)));
        row.push(spread_text(group.seconds_per_epoch, 2));
        rows.push(row);
    }
    let head: Vec<String> = PARTS
        .iter()
        .enumerate()
        .map(|(style, part)| format!("<span class=\"key p{style}\"></span>{part}"))
        .chain(["together".to_owned()])
        .collect();
    let mut table = String::from("<div class=\"wide\"><table><tr><th></th>");
    head.iter().for_each(|head| table += &format!("<th>{head}</th>"));
    table += "</tr>\n";
    for row in rows {
        table += "<tr>";
        row.iter().for_each(|cell| table += &format!("<td>{}</td>", escape(cell)));
        table += "</tr>\n";
    }
    table += "</table></div>\n";
    format!(
        "<h2>Seconds of an epoch</h2>\n<figure>{bars}</figure>\n{table}<p>Of each part of an iteration the median over the log, \
         times the iterations of an epoch; of clusterings the median, times their number, spread over the epochs of the run \
         (Online Deep Clustering has one, at the start). Medians, because a machine that does other work as well makes some \
         iterations slow; what it does all the time is in the numbers still. The plain views for extraction are loaded within \
         its time. Times are wall time with the threads of each run, and compare only between runs made on the same machine \
         in the same state. What the run does for its log, checkpoints and NMI is left out.</p>\n"
    )
}

/// Seconds below a minute with a decimal.
fn seconds(value: f64) -> String {
    if value < 60.0 { format!("{value:.1} s") } else { duration(value) }
}

fn settings(comparison: &Comparison) -> String {
    let held = "Equal in all of them: images, how the network sees them when it is judged, backbone, evaluation and, where one \
                command trained them, epochs and batch.";
    if comparison.differences.is_empty() {
        return format!("<h2>Settings</h2>\n<p>The runs differ in no setting but the seed. {held}</p>\n");
    }
    let mut text = String::from(
        "<h2>Settings that differ</h2>\n<div class=\"wide\"><table class=\"settings\"><tr><th>setting</th>",
    );
    comparison.groups.iter().for_each(|group| text += &format!("<th>{}</th>", escape(&group.label)));
    text += "</tr>\n";
    for (key, values) in &comparison.differences {
        text += &format!("<tr><td><code>{}</code></td>", escape(key));
        values.iter().for_each(|value| text += &format!("<td><code>{}</code></td>", escape(value)));
        text += "</tr>\n";
    }
    text + &format!(
        "</table></div>\n<p>{held} Online Deep Clustering learns through a neck of two layers that is dropped when \
         features are judged; the other methods put their classifier on the backbone. A setting in the table may be one that a \
         method does not read: <code>memory.*</code> but for <code>clusters</code> (and the re-weighting, where Deep \
         Clustering is told to) belongs to Online Deep Clustering, <code>deepcluster.*</code> to Deep Clustering. Settings \
         that are equal need not suit all methods equally well.</p>\n"
    )
}

fn legend(comparison: &Comparison) -> String {
    let mut text = String::from("<ul class=\"legend\">");
    for (style, group) in comparison.groups.iter().enumerate() {
        let _ = write!(
            text,
            "<li><svg viewBox=\"0 0 34 10\" aria-hidden=\"true\"><path class=\"line s{}\" d=\"M0 5H34\"/></svg>{}</li>",
            style % STYLES,
            escape(&group.label)
        );
    }
    text + "</ul>\n"
}

fn table<const COLUMNS: usize>(head: &[&str; COLUMNS], rows: &[[String; COLUMNS]]) -> String {
    let mut text = String::from("<div class=\"wide\"><table><tr>");
    head.iter().for_each(|cell| text += &format!("<th>{}</th>", escape(cell)));
    text += "</tr>\n";
    for row in rows {
        text += "<tr>";
        row.iter().for_each(|cell| text += &format!("<td>{}</td>", escape(cell)));
        text += "</tr>\n";
    }
    text + "</table></div>\n"
}

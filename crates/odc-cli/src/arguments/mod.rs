//! What can be typed: commands, flags and their help.

mod apply;
mod evaluate;
mod images;
mod network;
mod series;
mod train;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub(crate) use apply::{AssignArguments, ExtractArguments, FeatureFormat, FeatureKind, InfoArguments};
pub(crate) use evaluate::{
    EvalClustersArguments, EvalFinetuneArguments, EvalKnnArguments, EvalLinearArguments, EvalSvmArguments,
    PrecisionMeasure,
};
pub(crate) use images::{CacheArguments, ColumnArguments, LabelledSets};
pub(crate) use network::{BackboneArguments, MachineArguments};
pub(crate) use series::{AblateArguments, CompareArguments, SeriesArguments};
pub(crate) use train::{RecipeArguments, TrainArguments};

/// Learns image features without labels, by Online Deep Clustering and methods to compare it with.
///
/// A network and a grouping of the images into clusters are learned together: the network is trained to tell the
/// clusters apart, and every image that it looks at may move to another cluster. No label is needed. What comes out
/// is a backbone whose features are useful for other tasks, and the cluster of every image.
#[derive(Parser)]
#[command(name = "odc", version, max_term_width = 100, after_help = START, after_long_help = START)]
struct Typed {
    #[command(subcommand)]
    command: Command,
}

/// What the program can do.
#[derive(Subcommand)]
pub(crate) enum Command {
    Train(TrainArguments),
    EvalLinear(EvalLinearArguments),
    EvalKnn(EvalKnnArguments),
    EvalSvm(EvalSvmArguments),
    EvalClusters(EvalClustersArguments),
    EvalFinetune(EvalFinetuneArguments),
    Extract(ExtractArguments),
    Assign(AssignArguments),
    Info(InfoArguments),
    Compare(CompareArguments),
    Ablate(AblateArguments),
}

/// The command line as typed. Help, and what cannot be understood, end the program here (exit code 0 or 2).
pub(crate) fn parse() -> Command {
    let command = Typed::command().bin_name(called_as());
    let matches = command.get_matches();
    match Typed::from_arg_matches(&matches) {
        Ok(typed) => typed.command,
        Err(error) => error.exit(),
    }
}

/// How the user called the program, for the commands that it proposes.
pub(crate) fn called_as() -> String {
    std::env::var("ODC_CALLED_AS").unwrap_or_else(|_| "odc".to_owned())
}

const START: &str = "\
Start with `train`, then ask `eval-knn` or `eval-linear` what was learned.
Exit codes: 0 done; 1 failed; 2 wrong use; 130 stopped by Ctrl-C, a checkpoint is saved.
RUST_LOG=info tells more on standard error.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Typed::command().debug_assert();
    }

    #[test]
    fn resume_takes_a_folder_or_leaves_it_to_out() {
        let resume = |words: &[&str]| match Typed::try_parse_from(words).map(|typed| typed.command) {
            Ok(Command::Train(train)) => train.resume,
            _ => panic!("{words:?} is a way to train"),
        };
        assert_eq!(resume(&["odc", "train"]), None);
        assert_eq!(resume(&["odc", "train", "--resume", "--out", "runs/x"]), Some(None));
        assert_eq!(resume(&["odc", "train", "--resume", "runs/x"]), Some(Some("runs/x".into())));
    }
}

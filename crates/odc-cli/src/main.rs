//! The program `odc`: image features learned without labels by Online Deep Clustering.
//!
//! What was typed ([`arguments`]) becomes what is meant, the other crates do it, and the outcome is told. Architecture
//! invariant: no mathematics here.

mod ablate;
mod arguments;
mod assign;
mod backbone;
mod compare;
mod eval_clusters;
mod eval_finetune;
mod eval_linear;
mod eval_svm;
mod evaluate;
mod extract;
mod failure;
mod images;
mod info;
mod interrupt;
mod judge;
mod labelled_sets;
mod machine;
mod output;
mod progress;
mod recipes;
mod run_folder;
mod screen;
mod series;
mod train;
mod train_request;

use std::process::ExitCode;

use arguments::Command;
use odc_kernels::memory::PoolAllocator;

/// Training asks for the same large blocks at every step.
#[global_allocator]
static MEMORY: PoolAllocator = PoolAllocator::new();

fn main() -> ExitCode {
    let command = arguments::parse();
    screen::start_tracing();
    match run(command) {
        Ok(code) => code,
        Err(error) => failure::tell(&error),
    }
}

/// Everything that the program does.
fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Train(arguments) => return train::run(arguments),
        Command::Compare(arguments) => return compare::run(arguments),
        Command::Ablate(arguments) => return ablate::run(arguments),
        Command::EvalLinear(arguments) => eval_linear::run(arguments)?,
        Command::EvalKnn(arguments) => evaluate::knn(arguments)?,
        Command::EvalSvm(arguments) => eval_svm::run(arguments)?,
        Command::EvalClusters(arguments) => eval_clusters::run(arguments)?,
        Command::EvalFinetune(arguments) => eval_finetune::run(arguments)?,
        Command::Extract(arguments) => extract::run(arguments)?,
        Command::Assign(arguments) => assign::run(arguments)?,
        Command::Info(arguments) => info::run(arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}

//! The program as a user meets it: what it prints, writes and refuses.

mod support;

mod evaluation;
mod methods;
mod probes;
mod series;
mod stopped_runs;
mod weights;
mod whole_run;
mod wrong_input;

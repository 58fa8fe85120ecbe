//! The program as a user meets it: what it prints, writes and refuses.

mod support;

mod methods;
mod stopped_runs;
mod weights;
mod whole_run;
mod wrong_input;

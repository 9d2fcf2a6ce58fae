//! Parts that were each tested well, together: the whole program through random commands, reloads, outages, kills and orderly
//! stops, beside a plain model of what its outputs do and who is in its configuration.
//!
//! After every step the simulated lines, the retained states and the table for `safe-state` are compared with the model, and at
//! the end of each life the account of the readings. docs/reliability.md says which pairs of parts meet here.

mod model;
mod story;

use crate::suite::{chance, report, times};
use story::{Story, Tally};

#[test]
fn random_steps_keep_outputs_answers_and_readings_as_a_plain_model_says() {
    let (stories, steps) = times((1, 30), (2, 60), (10, 200));
    let mut chance = chance("seams");
    let mut all = Tally::default();
    for _ in 0..stories {
        let mut story = Story::begin(&mut chance);
        for _ in 0..steps {
            story.step(&mut chance);
        }
        all.add(story.end());
    }
    let happened = format!(
        "outputs, answers, retained topics and the table of outputs as in the model after each step; {} readings taken in lives \
         that ended in order, all received or reported as lost",
        all.taken
    );
    report("seams", &format!("{stories} × {steps} random steps: {}", all.steps()), &happened);
}

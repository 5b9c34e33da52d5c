//! The engine under the public suite.

use irc_backends::{
    conformance::{Suite, check},
    execute::Driven,
};
use outside_engine::NodeByNode;

#[test]
fn the_engine_conforms() {
    let report = check(&Driven::new(NodeByNode), &Suite { programs: 60, pairs: 5 });
    report.assert();
    // Otherwise the report shows less than it says.
    assert!(!report.sections.is_empty() && report.sections.iter().all(|section| section.passed > 0), "{report}");
    println!("{report}");
}

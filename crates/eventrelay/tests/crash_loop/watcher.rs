//! A reader that follows the log as it grows. What it has once been shown must stay.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::findings::Kind;
use crate::harness::DEADLINE;
use crate::target::Life;
use crate::world::World;

/// An event that was shown: its offset and id.
pub(crate) type Sighting = (u64, String);

/// Follows each life's log until no more lives come.
pub(crate) fn watch(world: &World) -> Vec<Sighting> {
    let mut sightings = Vec::new();
    while let Some(life) = world.target.life() {
        // However it ended, with the server or in the middle of a line: what came before it counts.
        let _ = watch_life(world, life, &mut sightings);
        world.target.pause(life, DEADLINE);
    }
    sightings
}

fn watch_life(world: &World, life: Life, sightings: &mut Vec<Sighting>) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(life.address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    // HTTP/1.0 has no chunks: after the head come the lines, and nothing else.
    write!(stream, "GET /v1/events/stream?from=latest HTTP/1.0\r\nHost: {}\r\n\r\n", life.address)?;
    let mut lines = BufReader::new(stream).lines();
    for line in &mut lines {
        if line?.is_empty() {
            break;
        }
    }
    for line in lines {
        let line = line?;
        // The last line of a life may be cut short, and an empty one is a sign of life.
        let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
        if let Err(why) = world.workload.recognise(&event["data"]) {
            world.findings.add(Kind::Corrupt, format!("the stream: {why}"));
        }
        if let (Some(offset), Some(id)) = (event["offset"].as_u64(), event["id"].as_str()) {
            sightings.push((offset, id.to_owned()));
        }
    }
    Ok(())
}

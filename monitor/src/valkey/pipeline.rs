//! Commands to one node, together, and its answers.

use std::time::Duration;

use redis::Value;

use super::connection::Connection;
use super::fault::Fault;
use super::request::Request;

/// The answer to a command, or why there is none.
pub(crate) type Answer = Result<Value, Fault>;

/// The most bytes that are sent before their answers are awaited. The reports of thousands of containers are megabytes,
/// which a single pipeline would hold in memory three times.
const PIECE: u64 = 256 << 10;

/// Sends commands in one pipeline, or in several where they are many. If one answer is missing, all commands fail.
pub(super) async fn together(connection: &mut Connection, requests: &[Request], timeout: Duration) -> Vec<Answer> {
    let all = async {
        let mut answers = Vec::with_capacity(requests.len());
        let mut left = requests;
        while !left.is_empty() {
            let (now, later) = left.split_at(piece(left));
            answers.extend(pipeline(connection, now).await?);
            left = later;
        }
        Ok(answers)
    };
    let fault = match tokio::time::timeout(timeout, all).await {
        Ok(Ok(answers)) => return answers,
        Ok(Err(fault)) => fault,
        Err(_) => Fault::new(format!("no answer within {:.0} s", timeout.as_secs_f64())),
    };
    vec![Err(fault); requests.len()]
}

/// The number of these commands, at least one, that fit into a piece.
fn piece(requests: &[Request]) -> usize {
    let mut bytes = 0;
    let fits = requests.iter().take_while(|request| {
        bytes += request.bytes();
        bytes <= PIECE
    });
    fits.count().max(1)
}

async fn pipeline(connection: &mut Connection, requests: &[Request]) -> Result<Vec<Answer>, Fault> {
    let mut pipeline = redis::pipe();
    requests.iter().for_each(|request| _ = pipeline.add_command(request.cmd()));
    let answers = connection.send(&mut pipeline).await?;
    if answers.len() != requests.len() {
        return Err(Fault::garbled());
    }
    Ok(answers.into_iter().map(|answer| answer.map_err(Fault::from)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_commands_go_out_piece_by_piece_and_a_long_one_alone() {
        let of = |bytes: usize| Request::from(redis::cmd("SET").arg("k").arg("x".repeat(bytes)).to_owned());
        assert_eq!(piece(&[of(1), of(1), of(1)]), 3);
        assert_eq!(piece(&[of(150_000), of(100_000), of(25_000)]), 2);
        assert_eq!(piece(&[of(2_000_000), of(1)]), 1);
    }
}

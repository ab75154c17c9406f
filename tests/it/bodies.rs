//! Bodies stream both ways in bounded memory; undeclared ones are refused.

use acceptance::{Plant, process};
use std::process::Command;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const MIB: usize = 1024 * 1024;
const SIZE: usize = 192 * MIB;
/// The debug build idles at about 45 MiB; a body held whole would be four times this.
const MEMORY_MAX_KIB: u64 = 140 * 1024;

const ROUTES: &str = r#"
[dataset.reports]
title = "What only a person can read"
product = "press-line-quality"
source = "mes"
equipment = "press-line-1"
sensitivity = "internal"
format = "opaque"
fields.text = "identity"
records.unassigned = true

[route.import-report]
title = "Report to the MES"
method = "POST"
path = "/reports"
action = "read"
source = "mes"
dataset = "reports"
body = { max_bytes = 268435456, content_types = ["application/octet-stream"] }
shape.rows = 1
upstream.path = "/api/v1/reports"
"#;

/// A source that reads whatever comes and answers with `SIZE` bytes; counts what it read.
async fn source() -> (u16, tokio::sync::mpsc::UnboundedReceiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (count, counts) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let count = count.clone();
            tokio::spawn(async move {
                let mut buffer = vec![0; MIB];
                let mut head = Vec::new();
                while !head.windows(4).any(|w| w == b"\r\n\r\n") {
                    if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let end = head.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
                let text = String::from_utf8_lossy(&head[..end]).to_ascii_lowercase();
                let length =
                    text.lines().find_map(|l| l.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
                let mut read = head.len() - end;
                while read < length.unwrap_or(0) {
                    match stream.read(&mut buffer).await {
                        Ok(0) | Err(_) => break,
                        Ok(n) => read += n,
                    }
                }
                let _ = count.send(read);
                let answer =
                    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {SIZE}\r\n\r\n");
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
                for _ in 0..SIZE / MIB {
                    if stream.write_all(&buffer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (port, counts)
}

fn curl(arguments: &[&str]) -> String {
    let output = tokio::task::block_in_place(|| Command::new("curl").args(arguments).output().unwrap());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn peak_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_stream_both_ways_in_bounded_memory() {
    let (port, mut counts) = source().await;
    let plant = Plant::start_with_source(port).await.unwrap();
    std::fs::write(plant.directory.path().join("policies/plants/munich/catalog/reports.toml"), ROUTES).unwrap();
    let config = plant.configuration("streams", "").unwrap();
    let (broker, facts) = process::serve(&config, "").unwrap();
    let data = facts["data"].as_str().unwrap();
    let bearer = format!("Authorization: Bearer {}", plant.token("analytics"));

    let series = format!("{data}/plain/press-3.vibration?from=2026-11-22T08:00:00Z&to=2026-11-22T09:00:00Z");
    let down = curl(&["-s", "-o", "/dev/null", "-w", "%{http_code} %{size_download}", "-H", &bearer, &series]);
    assert_eq!(down, format!("200 {SIZE}"));

    let file = plant.directory.path().join("report.bin");
    std::fs::File::create(&file).unwrap().set_len(SIZE as u64).unwrap();
    let upload = format!("@{}", file.display());
    let url = format!("{data}/reports");
    let binary = "Content-Type: application/octet-stream";
    let send = |kind: &str| {
        curl(&[
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-H",
            &bearer,
            "-H",
            kind,
            "-H",
            "Expect:",
            "--data-binary",
            &upload,
            &url,
        ])
    };
    counts.recv().await.unwrap();
    assert_eq!(send(binary), "200");
    assert_eq!(counts.recv().await, Some(SIZE), "the source read it all");
    let peak = peak_kib(broker.0.id());
    assert!(peak < MEMORY_MAX_KIB, "{peak} KiB");

    assert_eq!(send("Content-Type: text/plain"), "400", "a type that is not declared");
    std::fs::File::create(&file).unwrap().set_len(300 * MIB as u64).unwrap();
    assert_eq!(send(binary), "413", "more than is declared");
    assert!(counts.try_recv().is_err(), "the source was asked for neither");
    plant.stop().await;
}

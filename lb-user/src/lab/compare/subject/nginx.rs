//! nginx: as it forwards connections, and as it speaks HTTP.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;
use nix::sys::signal::Signal;
use tokio::time::sleep;

use super::{SERVERS, Setup};
use crate::lab::compare::bed::{Bed, PATIENCE, Started, VIP};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Module {
    Stream,
    Http,
}

/// Where Debian has it.
const STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// 5 ms between two looks at a reload.
const PAUSE: Duration = Duration::from_millis(5);

pub(super) fn missing(module: Module) -> Option<String> {
    // nginx itself is there: it is what the servers run.
    (module == Module::Stream && !Path::new(STREAM).is_file())
        .then(|| "nginx has no module stream: apt-get install libnginx-mod-stream".to_owned())
}

fn config(module: Module, setup: Setup) -> String {
    let upstream = |name: &str, port: u16, more: &str| {
        let mut text = format!("upstream {name} {{\n    zone {name} 64k;\n{more}");
        for ((server, ip), weight) in SERVERS.iter().zip(setup.weights) {
            let down = if setup.drained && *server == "web2" {
                " down"
            } else {
                ""
            };
            text += &format!("    server {ip}:{port} weight={weight}{down};\n");
        }
        text + "}\n"
    };
    let common = "daemon off;\nuser root;\nworker_processes auto;\npid {folder}/nginx.pid;\nerror_log stderr warn;\n\
                  events { worker_connections 4096; }\n";
    match module {
        Module::Stream => format!(
            "load_module {STREAM};\n{common}stream {{\n{}{}server {{ listen {VIP}:80 backlog=4096; proxy_pass web; }}\n\
             server {{ listen {VIP}:443 backlog=4096; proxy_pass secure; }}\n}}\n",
            upstream("web", 80, ""),
            upstream("secure", 443, "")
        ),
        Module::Http => format!(
            "{common}http {{\naccess_log off;\nkeepalive_requests 1000000;\n\
             client_body_temp_path {{folder}}/nginx-body;\nproxy_temp_path {{folder}}/nginx-proxy;\n\
             fastcgi_temp_path {{folder}}/nginx-fastcgi;\nuwsgi_temp_path {{folder}}/nginx-uwsgi;\n\
             scgi_temp_path {{folder}}/nginx-scgi;\n{}server {{\n    listen {VIP}:80 backlog=4096;\n    \
             listen {VIP}:443 ssl http2 backlog=4096;\n    ssl_certificate {{lab}}/balancer.pem;\n    \
             ssl_certificate_key {{lab}}/balancer.pem;\n    location / {{\n        proxy_pass http://web;\n        \
             proxy_http_version 1.1;\n        proxy_set_header Connection \"\";\n        \
             proxy_set_header Host $host;\n        \
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n        \
             proxy_set_header X-Forwarded-Proto $scheme;\n    }}\n}}\n}}\n",
            upstream("web", 80, "    keepalive 64;\n")
        ),
    }
}

fn balancer(module: Module, setup: Setup) -> Started {
    Started {
        kind: "command",
        args: [
            "nginx",
            "-p",
            "{folder}",
            "-c",
            "{folder}/balancer.conf",
            "-e",
            "stderr",
        ]
        .map(str::to_owned)
        .to_vec(),
        file: Some(("balancer.conf", config(module, setup))),
        ready: Some(format!("{VIP}:443")),
        ..Started::default()
    }
}

pub(super) async fn start(bed: &Bed, module: Module, setup: Setup) -> anyhow::Result<()> {
    bed.start_balancer(&balancer(module, setup)).await
}

/// Waits until workers of before accept nothing any more.
pub(super) async fn reload(bed: &Bed, module: Module, setup: Setup) -> anyhow::Result<()> {
    let before = workers(bed)?;
    bed.write_balancer(&balancer(module, setup))?;
    bed.balancer()?.signal(Signal::SIGHUP);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = workers(bed)?;
        if !now.is_empty() && now.iter().all(|pid| !before.contains(pid)) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("nginx has not taken the changed file within {PATIENCE:?}");
        }
        sleep(PAUSE).await;
    }
}

/// Those that accept.
fn workers(bed: &Bed) -> anyhow::Result<Vec<i32>> {
    let processes = bed.processes()?;
    let accepts = |pid: &i32| {
        // Gone: it accepts nothing.
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.contains("worker process") && !line.contains("shutting down")
    };
    Ok(processes
        .iter()
        .map(|process| process.pid)
        .filter(|pid| accepts(pid))
        .collect())
}

// A plant's historian: Debian's InfluxDB 1.6 on 127.0.0.1 with authentication on, in a folder of its own.
//
//   node influxdb.mjs [--port 0] [--directory DIR] [--database plant] [--with-parent]
//
// Without --directory it works in a temporary one and removes it at the end. Prints one line when ready:
//   {"url", "database", "admin": {"username", "password"}, "reader": {"username", "password"}, "pid"}
// `reader` may read the database and nothing else: these are the credentials for the broker. Load it as `admin`:
//   curl -u NAME:PASSWORD --data-binary 'force,machine=press-3 value=12.5 1795375200000000000' "URL/write?db=plant"

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { endWith, options, ready } from './child.mjs';

const values = options({
  port: { type: 'string', default: '0' },
  directory: { type: 'string' },
  database: { type: 'string', default: 'plant' },
});
const { database } = values;
if (!/^[a-z][a-z0-9_]*$/.test(database)) {
  console.error(`\`${database}\` is not a database name: use a-z, 0-9 and _`);
  process.exit(2);
}

const directory = values.directory ?? mkdtempSync(join(tmpdir(), 'millgate-influxdb-'));
mkdirSync(directory, { recursive: true });
process.on('exit', () => values.directory ?? rmSync(directory, { recursive: true, force: true }));
const person = (username) => ({ username, password: randomBytes(24).toString('base64url') });
const admin = person('admin');
const reader = person('millgate');

// Everything that would listen or report elsewhere is off. The RPC port is for backups; the system chooses it.
const configuration = `
reporting-disabled = true
bind-address = "127.0.0.1:0"
[meta]
  dir = ${JSON.stringify(join(directory, 'meta'))}
[data]
  dir = ${JSON.stringify(join(directory, 'data'))}
  wal-dir = ${JSON.stringify(join(directory, 'wal'))}
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:${Number(values.port)}"
  auth-enabled = true
  log-enabled = false
`;
const file = join(directory, 'influxdb.conf');
writeFileSync(file, configuration);

const child = spawn('influxd', ['-config', file], { stdio: ['ignore', 'inherit', 'pipe'] });
const ended = new Promise((done) => child.once('exit', done));
child.once('error', (error) => {
  console.error(`influxd cannot be started: ${error.message}; install the package influxdb`);
  process.exit(1);
});
child.once('exit', (code) => {
  console.error(`influxd ended with ${code}`);
  process.exitCode = 1;
});

endWith(values, async () => {
  child.removeAllListeners('exit');
  const gone = new Promise((done) => child.once('exit', done));
  if (child.exitCode === null && child.kill('SIGTERM')) await gone;
});

/** The address of the HTTP listener, from the log: with port 0 nobody else knows it. */
function listening() {
  return new Promise((found, failed) => {
    ended.then(() => failed(new Error('influxd ended before it listened')));
    const lines = createInterface({ input: child.stderr });
    lines.on('line', (line) => {
      const address = /Listening on HTTP.* addr=(127\.0\.0\.1:\d+)/.exec(line)?.[1];
      if (address) found(`http://${address}`);
      else if (/lvl=error|run: /.test(line)) console.error(line);
    });
  });
}

async function query(url, who, q) {
  const headers = who ? { authorization: `Basic ${Buffer.from(`${who.username}:${who.password}`).toString('base64')}` } : {};
  const answer = await fetch(`${url}/query`, { method: 'POST', headers, body: new URLSearchParams({ q }) });
  const text = await answer.text();
  if (!answer.ok || text.includes('"error"')) throw new Error(`${answer.status} ${text}`);
}

try {
  const url = await listening();
  await query(url, null, `CREATE USER ${admin.username} WITH PASSWORD '${admin.password}' WITH ALL PRIVILEGES`);
  await query(url, admin, `CREATE DATABASE ${database}`);
  await query(url, admin, `CREATE USER ${reader.username} WITH PASSWORD '${reader.password}'`);
  await query(url, admin, `GRANT READ ON ${database} TO ${reader.username}`);
  ready({ url, database, admin, reader });
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
  process.kill(process.pid, 'SIGTERM');
}

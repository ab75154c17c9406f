// What the servers of this folder have in common: options on the command line, one JSON line on standard output when
// they are ready, and an end that nobody has to remember.

import { parseArgs } from 'node:util';

/** Reads `--name value` options. Unknown ones end the program with status 2. */
export function options(known) {
  try {
    return parseArgs({ options: { ...known, 'with-parent': { type: 'boolean', default: false } } }).values;
  } catch (error) {
    console.error(error.message);
    process.exit(2);
  }
}

/**
 * Calls `stop` once, on SIGTERM or SIGINT, or, with `--with-parent`, when standard input ends: a test that is killed
 * cannot stop its servers, but its end of the pipe closes.
 */
export function endWith(values, stop) {
  let stopping = false;
  const once = () => {
    if (stopping) return;
    stopping = true;
    Promise.resolve(stop()).then(() => process.exit(), (error) => {
      console.error(error);
      process.exit(1);
    });
  };
  process.on('SIGTERM', once);
  process.on('SIGINT', once);
  if (values['with-parent']) {
    process.stdin.on('end', once).on('error', once).resume();
  }
}

/** Says that the server takes requests, and where. */
export function ready(facts) {
  console.log(JSON.stringify({ ...facts, pid: process.pid }));
}

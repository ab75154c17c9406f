// Checkpoint and inclusion by Sigstore's verifier (npm). Reads {"key","cases":{name: {"proof","entry"}}} from standard input,
// with entries in base64, and says for each case whether it is accepted: {name: true | "why not"}.
import { createHash, createPublicKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

// The parts that know tlogs of any kind are not exported: an absolute path reaches them.
const require = createRequire(import.meta.url)
const folder = new URL('../.tools/npm/node_modules/@sigstore/verify/dist/tlog/', import.meta.url).pathname
const { verifyCheckpoint } = require(folder + 'checkpoint.js')
const { verifyMerkleInclusion } = require(folder + 'merkle.js')

// `name+id+key`; the name may hold no `+`, the key may.
function tlog(vkey) {
  const [name, id] = vkey.split('+', 2)
  const typed = Buffer.from(vkey.slice(name.length + id.length + 2), 'base64')
  const key = typed.subarray(1)
  const expected = createHash('sha256').update(`${name}\n`).update(typed).digest().subarray(0, 4)
  if (typed[0] !== 1 || expected.toString('hex') !== id) throw new Error('not an Ed25519 key of this name')
  const spki = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), key])
  const publicKey = createPublicKey({ key: spki, format: 'der', type: 'spki' })
  return { logID: expected, publicKey, baseURL: name }
}

// C2SP tlog-proof.
function read(text) {
  const [head] = text.split('\n\n', 1)
  const lines = head.split('\n')
  if (lines.shift() !== 'c2sp.org/tlog-proof@v1') throw new Error('no tlog-proof')
  if (lines[0].startsWith('extra ')) lines.shift()
  const index = lines.shift().match(/^index (0|[1-9][0-9]*)$/)[1]
  return { index, hashes: lines.map((line) => Buffer.from(line, 'base64')), note: text.slice(head.length + 2) }
}

const { key, cases } = JSON.parse(readFileSync(0, 'utf8'))
const log = tlog(key)
const verdicts = {}
for (const [name, { proof, entry }] of Object.entries(cases)) {
  try {
    const { index, hashes, note } = read(proof)
    const tlogEntry = {
      inclusionProof: { logIndex: index, hashes, checkpoint: { envelope: note } },
      canonicalizedBody: Buffer.from(entry, 'base64'),
    }
    const checkpoint = verifyCheckpoint(tlogEntry, [log])
    if (checkpoint.origin !== log.baseURL) throw new Error('another origin')
    verifyMerkleInclusion(tlogEntry, checkpoint)
    verdicts[name] = true
  } catch (error) {
    verdicts[name] = String(error.message ?? error)
  }
}
console.log(JSON.stringify(verdicts))

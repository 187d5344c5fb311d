import { parseArgs } from 'node:util'
import { benchAvro } from './avro.ts'
import { benchKernel } from './kernel.ts'
import { renderRows, writeRows } from './rows.ts'
import type { BenchRow } from './rows.ts'
import { benchEngines } from './engines/engines.ts'
import { benchRedisStore } from './redis-store.ts'
import { benchScore } from './score.ts'
import { benchWorker } from './worker.ts'

const SUITES: Readonly<Record<string, () => Promise<readonly BenchRow[]>>> = {
  kernel: benchKernel,
  worker: benchWorker,
  score: benchScore,
  redis: benchRedisStore,
  engines: benchEngines,
  avro: benchAvro,
}

const HELP = `npm run bench [-- SUITE …] [--json FILE]

Suites: ${Object.keys(SUITES).join(', ')}; all of them by default. Values are of this machine and this run; what to
compare between machines is the ratio to the baseline measured beside it.`

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'string' }, help: { type: 'boolean' } },
})
const unknown = positionals.filter(name => SUITES[name] === undefined)
if (values.help === true) {
  process.stdout.write(`${HELP}\n`)
} else if (unknown.length > 0) {
  process.stderr.write(`no suite ${unknown.join(', ')}\n\n${HELP}\n`)
  process.exitCode = 1
} else {
  const rows: BenchRow[] = []
  for (const name of positionals.length > 0 ? positionals : Object.keys(SUITES)) {
    process.stderr.write(`running ${name}\n`)
    rows.push(...((await SUITES[name]?.()) ?? []))
  }
  process.stdout.write(`${renderRows(rows)}\n`)
  if (values.json !== undefined) writeRows(values.json, rows)
}

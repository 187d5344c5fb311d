import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { runChecks } from './check.ts'

const root = resolve(import.meta.dirname, '..')

/** Names of test files to run, as vitest takes them; none for all. */
const filters = process.argv.slice(2)

/** What vitest's JSON reporter writes, as far as it is needed here. */
interface Report {
  readonly numPassedTests: number
  readonly numFailedTests: number
  readonly numPendingTests: number
  readonly numTodoTests: number
  readonly testResults: readonly {
    readonly name: string
    readonly status: string
    readonly assertionResults: readonly unknown[]
  }[]
}

interface Tally {
  passed: number
  failed: number
}

async function countChecks(tally: Tally): Promise<void> {
  for (const result of await runChecks()) {
    if (result.passed) tally.passed++
    else tally.failed++
  }
}

/** A test that is skipped or not written, a file that could not be loaded and an error outside any test all fail. */
async function countTests(tally: Tally): Promise<void> {
  const scratch = mkdtempSync(join(tmpdir(), 'headwater-ci-'))
  const reportFile = join(scratch, 'report.json')
  try {
    const code = await runVitest(reportFile)
    if (!existsSync(reportFile)) {
      console.log('The test runner ended without a report.')
      tally.failed++
      return
    }
    const report = JSON.parse(readFileSync(reportFile, 'utf8')) as Report
    const skipped = report.numPendingTests + report.numTodoTests
    const unloaded = report.testResults.filter(file => file.status === 'failed' && file.assertionResults.length === 0)
    if (skipped > 0) console.log(`${skipped} tests were skipped; here that is a failure.`)
    for (const file of unloaded) console.log(`${file.name} could not be run.`)
    const failed = report.numFailedTests + skipped + unloaded.length
    tally.passed += report.numPassedTests
    tally.failed += code !== 0 && failed === 0 ? 1 : failed
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

function runVitest(reportFile: string): Promise<number> {
  const runner = join(root, 'node_modules', 'vitest', 'vitest.mjs')
  const args = [runner, 'run', '--reporter=default', '--reporter=json', `--outputFile.json=${reportFile}`, ...filters]
  const child = spawn(process.execPath, args, { cwd: root, stdio: 'inherit', env: { ...process.env, CI: '1' } })
  return new Promise((done, fail) => {
    child.once('error', fail)
    child.once('exit', code => done(code ?? 1))
  })
}

const tally: Tally = { passed: 0, failed: 0 }
await countChecks(tally)
await countTests(tally)
process.exitCode = tally.failed === 0 && tally.passed > 0 ? 0 : 1
console.log(`${tally.passed} passed, ${tally.failed} failed`)

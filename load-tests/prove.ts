import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus, tmpdir, totalmem } from 'node:os'
import { join, resolve } from 'node:path'
import { SCENARIOS } from './faults/scenarios.ts'

const ROOT = resolve(import.meta.dirname, '..')
const RESULTS = join(ROOT, 'load-tests', 'results')

/** A proof at full count, in parts: the tests of `npm test` at other seeds and sizes, or a script. */
interface Proof {
  /** Of tests, or of one script outside `test`. */
  readonly files: readonly string[]
  readonly about: string
  readonly parts: number
  /** Environment of one part. */
  environment(part: number): Readonly<Record<string, string>>
}

const FAULTS = Object.keys(SCENARIOS)

const PROOFS: Readonly<Record<string, Proof>> = {
  laws: {
    files: [1, 2, 3, 4].map(part => `test/kernel/laws-${part}.test.ts`).concat('test/kernel/laws.test.ts'),
    about: '10,000 runs of every law of every aggregator, alone and wrapped for the windows that pick rows',
    parts: 10,
    environment: part => ({ HEADWATER_LAW_RUNS: '1000', HEADWATER_LAW_SEED: String(7_919 * (part + 1)) }),
  },
  windows: {
    files: ['test/kernel/read.test.ts', 'test/kernel/section.test.ts', 'test/offline/feature-sql.test.ts'],
    about: '4,000 random logs, quiet and busy: stored representation and ClickHouse SQL against the oracle',
    parts: 8,
    environment: part => ({ HEADWATER_WINDOW_LOGS: '500', HEADWATER_WINDOW_SEED: String(1_000_003 * (part + 1)) }),
  },
  simulation: {
    files: [
      'test/worker/simulation.test.ts',
      'test/worker/simulation-even.test.ts',
      'test/worker/offline-simulation.test.ts',
    ],
    about:
      '100,000 hostile schedules of the feature worker, half of the seeds beside the other half, and of the offline writer',
    parts: 20,
    environment: part => ({ HEADWATER_SIMULATION_SEEDS: '5000', HEADWATER_SIMULATION_SEED: String(1 + part * 5_000) }),
  },
  faults: {
    files: ['test/faults/faults.test.ts'],
    about: '1,000,000 events through real servers and three workers under each fault, recomputed from the log',
    parts: FAULTS.length,
    environment: part => ({ HEADWATER_FAULT: FAULTS[part] ?? '', HEADWATER_FAULT_EVENTS: '1000000' }),
  },
  soak: {
    files: ['load-tests/soak.ts'],
    about: '20 minutes at 70 % of capacity with a rebalance every minute: memory flat, nothing wrong',
    parts: 1,
    environment: () => ({ HEADWATER_SOAK_MINUTES: '20' }),
  },
  deploy: {
    files: ['test/deploy/'],
    about: 'deployment files against the real tools: Helm, Kubernetes and KEDA schemas, Compose, hadolint, promtool',
    parts: 1,
    environment: () => ({ HEADWATER_DEPLOY_TOOLS: '1' }),
  },
}

interface PartResult {
  readonly part: number
  readonly environment: Readonly<Record<string, string>>
  readonly passed: boolean
  readonly seconds: number
  /** What the part measured, where it measures. */
  readonly report?: unknown
}

interface ProofResult {
  readonly name: string
  readonly about: string
  readonly commit: string
  readonly uncommittedChanges: boolean
  readonly machine: Readonly<Record<string, string | number>>
  readonly parts: readonly PartResult[]
}

function git(...args: readonly string[]): string {
  return execFileSync('git', args, { cwd: ROOT, encoding: 'utf8' }).trim()
}

/** What was done before on the same commit, so that an interrupted proof goes on where it stopped. */
function begun(path: string, name: string, proof: Proof): ProofResult {
  const commit = git('rev-parse', 'HEAD')
  const uncommittedChanges = git('status', '--porcelain', '--', 'features', 'topology', 'test').length > 0
  if (existsSync(path) && !uncommittedChanges) {
    const old = JSON.parse(readFileSync(path, 'utf8')) as ProofResult
    if (old.commit === commit && !old.uncommittedChanges) return old
  }
  const machine = {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.version,
  }
  return { name, about: proof.about, commit, uncommittedChanges, machine, parts: [] }
}

function commandOf({ files }: Proof): readonly string[] {
  if (files.some(file => !file.startsWith('test/'))) return files.map(file => join(ROOT, file))
  return [join(ROOT, 'node_modules/vitest/vitest.mjs'), 'run', ...files]
}

function reportIn(file: string): Pick<PartResult, 'report'> {
  return existsSync(file) ? { report: JSON.parse(readFileSync(file, 'utf8')) } : {}
}

function prove(name: string, proof: Proof): boolean {
  mkdirSync(RESULTS, { recursive: true })
  const path = join(RESULTS, `${name}.json`)
  let result = begun(path, name, proof)
  for (let part = 0; part < proof.parts; part++) {
    if (result.parts.some(done => done.part === part && done.passed)) continue
    const environment = proof.environment(part)
    process.stdout.write(`${name}: part ${part + 1} of ${proof.parts} ${JSON.stringify(environment)}\n`)
    const started = performance.now()
    const scratch = mkdtempSync(join(tmpdir(), 'headwater-prove-'))
    const reportFile = join(scratch, 'report.json')
    const run = spawnSync(process.execPath, commandOf(proof), {
      cwd: ROOT,
      stdio: 'inherit',
      env: { ...process.env, ...environment, HEADWATER_PROOF_REPORT: reportFile },
    })
    const seconds = Math.round((performance.now() - started) / 1_000)
    const others = result.parts.filter(done => done.part !== part)
    const done: PartResult = { part, environment, passed: run.status === 0, seconds, ...reportIn(reportFile) }
    rmSync(scratch, { recursive: true, force: true })
    result = { ...result, parts: [...others, done] }
    writeFileSync(path, `${JSON.stringify(result, null, 2)}\n`)
    if (run.status !== 0) return false
  }
  return true
}

const names = process.argv.slice(2)
const unknown = names.filter(name => PROOFS[name] === undefined)
if (unknown.length > 0 || names.includes('--help')) {
  const lines = Object.entries(PROOFS).map(([name, proof]) => `  ${name.padEnd(12)}${proof.about}`)
  process.stdout.write(
    `npm run prove [name …]: proofs at full count, resumable; results in load-tests/results\n${lines.join('\n')}\n`,
  )
  process.exitCode = names.includes('--help') ? 0 : 1
} else {
  for (const name of names.length > 0 ? names : Object.keys(PROOFS)) {
    const proof = PROOFS[name]
    if (proof !== undefined && !prove(name, proof)) process.exitCode = 1
  }
}

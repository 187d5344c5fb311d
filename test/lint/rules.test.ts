import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const root = resolve(import.meta.dirname, '..', '..')

interface Planted {
  readonly file: string
  readonly code: string
  /** The rule that must fire, or null where the file must be clean. */
  readonly rule: string | null
  readonly message?: string
}

const uses = (specifier: string): string => `import { a } from '${specifier}'\nexport const b = a\n`
const reads = (expression: string): string => `export const read = (): unknown => ${expression}\n`
const imports = (file: string, specifier: string, message?: string): Planted => ({
  file,
  code: uses(specifier),
  rule: 'headwater(imports)',
  ...(message === undefined ? {} : { message }),
})
const clean = (file: string, code: string): Planted => ({ file, code, rule: null })
const breaks = (rule: string, file: string, code: string, message?: string): Planted => ({
  file,
  code,
  rule,
  ...(message === undefined ? {} : { message }),
})

const planted: readonly Planted[] = [
  imports('features/plan/p1.ts', '../../topology/ports/clock.ts', 'features/ may not import topology/'),
  imports('features/plan/p2.ts', '../../protos/gen/x.ts', 'features/ may not import protos/'),
  imports('protos/p3.ts', '../features/define/index.ts', 'protos/ may not import features/'),
  imports('topology/runtime/p4.ts', '../../services/cli/main.ts', 'topology/ may not import services/'),
  imports('services/scorer/p5.ts', '../../test/helpers.ts', 'services/ may not import test/'),
  imports('services/scorer/p6.ts', '../../load-tests/echo.ts', 'services/ may not import load-tests/'),
  imports('load-tests/p7.ts', '../test/fixtures/echo.ts', 'load-tests/ may not import test/'),
  imports('features/kernel/p8.ts', '../define/index.ts', 'it may import nothing else in features/'),
  imports('features/kernel/p9.ts', '../statistics/psi.ts'),
  imports('features/statistics/p10.ts', '../define/index.ts'),
  imports('features/define/p11.ts', '../plan/compile.ts'),
  imports('features/define/p12.ts', '../policy/rules.ts'),
  imports('features/policy/p13.ts', '../plan/compile.ts'),
  imports('features/plan/p14.ts', '../policy/rules.ts'),
  imports('features/plan/p15.ts', '../fraud/index.ts'),
  imports('features/fraud/p16.ts', '../kernel/types.ts'),
  imports('features/fraud/p17.ts', '../cards/index.ts'),
  imports('topology/ports/p18.ts', '../processors/worker.ts'),
  imports('topology/ports/p19.ts', '../topology.ts'),
  imports('topology/processors/p20.ts', '../adapters/clock.ts'),
  imports('topology/processors/p21.ts', '../scoring/join.ts'),
  imports('topology/scoring/p22.ts', '../adapters/server/grpc/server.ts', 'topology/scoring may not import'),
  imports('topology/monitoring/p23.ts', '../adapters/offline-store/chdb/store.ts'),
  imports('topology/jobs/p24.ts', '../runtime/config.ts'),
  imports('topology/adapters/p25.ts', '../runtime/config.ts'),
  imports('topology/p26.ts', './runtime/config.ts', 'files directly in topology/ may not import topology/runtime'),
  breaks('headwater(imports)', 'topology/scoring/p27.ts', "export const load = () => import('../adapters/a.ts')\n"),
  breaks('headwater(imports)', 'features/plan/p28.ts', "export { a } from '../../topology/ports/clock.ts'\n"),
  breaks(
    'headwater(imports)',
    'features/plan/p29.ts',
    "import type { A } from '../../topology/a.ts'\nexport type B = A\n",
  ),
  breaks('headwater(imports)', 'features/kernel/p30.ts', "export type B = import('../plan/plan.ts').Plan\n"),

  imports('topology/runtime/d1.ts', '@grpc/grpc-js', '"@grpc/grpc-js" has one door'),
  imports('services/scorer/d2.ts', '@grpc/grpc-js'),
  imports('services/cli/d3.ts', '@grpc/reflection'),
  imports('topology/adapters/offline-store/d4.ts', 'chdb', '"chdb" has one door'),
  imports('topology/adapters/event-log/embedded/d5.ts', '@clickhouse/client'),
  imports('topology/adapters/server/grpc/d6.ts', 'onnxruntime-node'),
  imports('topology/adapters/online-store/redis/d7.ts', 'kafkajs'),
  imports('topology/adapters/event-log/kafka/d8.ts', 'ioredis'),
  imports('services/cli/d9.ts', 'node:sqlite', '"node:sqlite" has one door'),
  breaks('headwater(imports)', 'services/cli/d10.ts', "export const load = () => import('onnxruntime-node')\n"),
  imports('topology/scoring/d11.ts', 'node:fs', 'sees ports only'),
  imports('topology/processors/d12.ts', 'node:worker_threads'),
  imports('topology/jobs/d13.ts', 'commander'),
  imports('topology/runtime/d14.ts', 'node:process', 'belongs in services/'),
  imports('services/cli/d15.ts', 'headwater', 'import the file itself'),

  imports('features/kernel/u1.ts', 'node:crypto', 'features/ is pure'),
  imports('features/plan/u2.ts', 'node:fs', 'features/ is pure'),
  imports('features/define/u3.ts', 'esbuild', 'features/ is pure'),
  breaks('headwater(purity)', 'features/plan/u4.ts', reads('process.cwd()'), 'process reaches outside it'),
  breaks('headwater(purity)', 'features/plan/u5.ts', reads("fetch('http://localhost')")),
  breaks('headwater(purity)', 'features/plan/u6.ts', reads('setTimeout(read, 5)')),
  breaks(
    'headwater(purity)',
    'features/kernel/u7.ts',
    'export const c = (a: string, b: string) => a.localeCompare(b)\n',
  ),
  breaks('headwater(purity)', 'topology/processors/u8.ts', reads('setImmediate(read)')),

  breaks('headwater(clock)', 'topology/runtime/c1.ts', reads("process.env['HOME']"), 'process.env'),
  breaks('headwater(clock)', 'topology/adapters/c2.ts', reads('Date.now()'), 'Date.now'),
  breaks('headwater(clock)', 'topology/scoring/c3.ts', reads('performance.now()'), 'performance.now'),
  breaks('headwater(clock)', 'topology/jobs/c4.ts', reads('new Date()'), 'new Date()'),
  breaks('headwater(clock)', 'topology/jobs/c5.ts', reads('Date()'), 'Date()'),
  breaks('headwater(clock)', 'features/define/c6.ts', reads('Date.now()'), 'Date.now'),
  breaks('headwater(clock)', 'topology/jobs/c7.ts', reads('process.hrtime.bigint()'), 'process.hrtime'),
  breaks('headwater(clock)', 'topology/jobs/c8.ts', 'const { env } = process\nexport const e = env\n', 'process.env'),
  breaks('headwater(clock)', 'topology/jobs/c9.ts', reads("process['env']"), 'process.env'),
  breaks('headwater(clock)', 'topology/jobs/c10.ts', reads('globalThis.Date.now()'), 'Date.now'),

  breaks('headwater(randomness)', 'features/kernel/r1.ts', reads('Math.random()')),
  breaks('headwater(randomness)', 'topology/scoring/r2.ts', reads('crypto.randomUUID()')),
  breaks('headwater(randomness)', 'services/demo/r3.ts', reads('Math.random()')),
  breaks('headwater(randomness)', 'test/r4.ts', reads('Math.random()')),

  breaks('headwater(no-wildcard-reexport)', 'services/w1.ts', "export * from './w2.ts'\n"),
  breaks('import(no-default-export)', 'services/w3.ts', 'export default 1\n'),
  breaks('eslint(no-console)', 'topology/runtime/w4.ts', "console.log('a')\n"),
  breaks('typescript(no-explicit-any)', 'services/w5.ts', 'export const f = (a: any): unknown => a\n'),

  clean('features/kernel/ok1.ts', uses('./types.ts')),
  clean('features/kernel/windows/ok2.ts', uses('../types.ts')),
  clean('features/statistics/ok3.ts', uses('../kernel/types.ts')),
  clean('features/plan/ok4.ts', uses('node:crypto')),
  clean('features/policy/ok5.ts', uses('../define/index.ts')),
  clean('features/fraud/ok6.ts', uses('../define/index.ts')),
  clean('features/ok7.ts', uses('./fraud/index.ts')),
  clean('features/kernel/ok8.ts', 'export const day = (ms: number) => new Date(ms).getUTCDay()\n'),
  clean('features/kernel/ok9.ts', 'export const f = (process: { env: number }) => process.env\n'),
  clean(
    'features/kernel/ok10.ts',
    'export type Step = { readonly process: number }\nexport const g = (s: Step) => s.process\n',
  ),
  clean('topology/scoring/ok11.ts', uses('../ports/clock.ts')),
  clean('topology/scoring/ok12.ts', uses('../../features/plan/plan.ts')),
  clean('topology/scoring/ok13.ts', uses('node:crypto')),
  clean('topology/processors/ok14.ts', uses('../topology.ts')),
  clean('topology/runtime/ok15.ts', uses('../adapters/clock.ts')),
  clean('topology/adapters/offline-store/chdb/ok16.ts', uses('chdb')),
  clean('topology/adapters/server/grpc/ok17.ts', uses('@grpc/grpc-js')),
  clean('topology/adapters/ok18.ts', reads('Math.random()')),
  clean('services/cli/ok19.ts', reads('Date.now()')),
  clean('services/cli/ok20.ts', reads("process.env['HOME']")),
  clean('load-tests/ok21.ts', uses('@grpc/grpc-js')),
  clean('test/ok22.ts', uses('../services/cli/main.ts')),
  clean('vitest.config.ts', 'export default {}\n'),
]

interface Diagnostic {
  readonly message: string
  readonly code: string
  readonly severity: string
  readonly filename: string
}

let tree = ''
let byFile: ReadonlyMap<string, readonly Diagnostic[]> = new Map()

beforeAll(async () => {
  tree = mkdtempSync(join(tmpdir(), 'headwater-lint-'))
  for (const file of ['.oxlintrc.json', 'package.json', 'test/lint/plugin.ts', 'test/lint/boundaries.ts']) {
    cpSync(join(root, file), join(tree, file), { recursive: true })
  }
  for (const { file, code } of planted) {
    mkdirSync(dirname(join(tree, file)), { recursive: true })
    writeFileSync(join(tree, file), code)
  }
  const oxlint = join(root, 'node_modules', 'oxlint', 'bin', 'oxlint')
  const run = promisify(execFile)(process.execPath, [oxlint, '--format', 'json'], { cwd: tree, maxBuffer: 16e6 })
  const { stdout, code } = await run.then(
    done => ({ stdout: done.stdout, code: 0 }),
    (error: { stdout: string; code: number }) => error,
  )
  expect(code).toBe(1)
  const { diagnostics } = JSON.parse(stdout) as { diagnostics: readonly Diagnostic[] }
  byFile = Map.groupBy(diagnostics, each => each.filename.replaceAll('\\', '/'))
})

afterAll(() => rmSync(tree, { recursive: true, force: true }))

describe('a planted violation is an error', () => {
  it.each(planted.filter(each => each.rule !== null))('$rule $file', ({ file, rule, message }) => {
    const found = (byFile.get(file) ?? []).filter(each => each.code === rule)
    expect(found.map(each => each.severity)).toContain('error')
    if (message !== undefined) expect(found.map(each => each.message).join('\n')).toContain(message)
  })
})

describe('what is allowed is not reported', () => {
  it.each(planted.filter(each => each.rule === null))('$file', ({ file }) => {
    expect(byFile.get(file) ?? []).toEqual([])
  })
})

import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createGrpcClient } from '../../topology/adapters/server/grpc/client.ts'

const root = resolve(import.meta.dirname, '..', '..')
const installTimeoutMs = 600_000

interface Ended {
  readonly code: number | null
  readonly output: string
}

/** What npm and Node tell their children would lead a command of the user's project back to this checkout. */
const userEnvironment = Object.fromEntries(
  Object.entries(process.env)
    .filter(([name]) => !/^(npm_|NODE_OPTIONS$|NODE_PATH$|VITEST|CI$)/.test(name))
    .map(([name, value]) => [name, name === 'PATH' ? outsideCheckout(value ?? '') : value]),
)

function outsideCheckout(path: string): string {
  const separator = process.platform === 'win32' ? ';' : ':'
  return path
    .split(separator)
    .filter(folder => !folder.startsWith(join(root, 'node_modules')))
    .join(separator)
}

async function run(command: string, args: readonly string[], cwd: string): Promise<Ended> {
  const child = spawn(command, args, { cwd, env: userEnvironment, stdio: ['ignore', 'pipe', 'pipe'] })
  const chunks: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => chunks.push(chunk))
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, output: Buffer.concat(chunks).toString() }
}

async function succeeds(command: string, args: readonly string[], cwd: string): Promise<string> {
  const { code, output } = await run(command, args, cwd)
  expect(code, `${command} ${args.join(' ')}:\n${output}`).toBe(0)
  return output
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

interface PackedFile {
  readonly path: string
}

describe('the package, installed into an empty folder', () => {
  let parent = ''
  let project = ''
  let packed: readonly string[] = []

  beforeAll(async () => {
    parent = realpathSync(mkdtempSync(join(tmpdir(), 'headwater-pack-')))
    project = join(parent, 'shop')
    mkdirSync(project)
    const listing = await succeeds(
      'npm',
      ['pack', '--ignore-scripts=false', '--json', '--pack-destination', parent],
      root,
    )
    // npm may print notices before and after.
    const json = listing.slice(listing.indexOf('[\n'), listing.lastIndexOf('\n]') + 2)
    const [report] = JSON.parse(json) as [{ filename: string; files: PackedFile[] }]
    packed = report.files.map(file => file.path)
    const tarball = join(parent, report.filename)
    await succeeds('npm', ['install', '--prefer-offline', '--ignore-scripts', '--no-audit', tarball], project)
    await succeeds('npx', ['--no-install', 'headwater', 'init', '.', '--force'], project)
    await succeeds('npm', ['install', '--prefer-offline', '--no-audit'], project)
  }, installTimeoutMs)

  afterAll(() => rmSync(parent, { recursive: true, force: true }))

  it('holds what it needs to run and nothing of the tests', () => {
    for (const file of [
      'bin/headwater.js',
      'dist/features/define/index.js',
      'dist/features/define/index.d.ts',
      'dist/topology/runtime/config.js',
      'dist/services/cli/main.js',
      'dist/services/cli/scaffold/_gitignore',
      'dist/services/cli/scaffold/features/index.ts',
      'dist/protos/headwater/scoring/v1/scoring.proto',
      'README.md',
    ]) {
      expect(packed).toContain(file)
    }
    expect(packed.filter(file => /(^|\/)(test|load-tests)\/|\.test\.|\.py$/.test(file))).toEqual([])
    const sources = packed.filter(
      file => file.endsWith('.ts') && !file.endsWith('.d.ts') && !file.includes('/scaffold/'),
    )
    expect(sources).toEqual([])
  })

  it('runs the plan of a feature authored there', async () => {
    const file = join(project, 'features', 'index.ts')
    const line = "  largest_7d: e.max(e.amount, '7d', { whenEmpty: 0 }),\n"
    const text = readFileSync(file, 'utf8')
    writeFileSync(file, text.replace(/(countries_7d: .*\n)/, `$1${line}`))
    const plan = await succeeds('npm', ['run', '--silent', 'plan'], project)
    expect(plan).toContain('customer_activity')
    expect(plan).toContain('largest_7d')
  })

  it('checks the types of the definitions: a field that does not exist does not compile', async () => {
    await succeeds('npm', ['run', '--silent', 'check'], project)
    const wrong =
      "import { customerActivity, purchase } from './index.ts'\nimport { service } from 'headwater'\n".concat(
        "export const s = service('s', { request: purchase, groups: [customerActivity],\n",
        '  derived: { d: v => v.customer_activity.lorgest_7d } })\n',
      )
    writeFileSync(join(project, 'features', 'wrong.ts'), wrong)
    const { code, output } = await run('npm', ['run', '--silent', 'check'], project)
    rmSync(join(project, 'features', 'wrong.ts'))
    expect(code).not.toBe(0)
    expect(output).toMatch(/features\/wrong\.ts.*lorgest_7d/)
  })

  describe('with the whole system running', () => {
    let system: ChildProcess | null = null
    let address = ''
    let output = ''

    beforeAll(async () => {
      const port = await freePort()
      address = `127.0.0.1:${port}`
      const args = ['--no-install', 'headwater', 'run', 'all', '--set', `server.port=${port}`]
      system = spawn('npx', args, {
        cwd: project,
        env: userEnvironment,
        stdio: ['ignore', 'pipe', 'pipe'],
        detached: true,
      })
      system.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()))
      system.stderr?.on('data', (chunk: Buffer) => (output += chunk.toString()))
    })

    afterAll(async () => {
      if (system?.pid === undefined || system.exitCode !== null) return
      process.kill(-system.pid, 'SIGTERM')
      await once(system, 'close')
    })

    it('scores an event over gRPC with the features authored there', async () => {
      const client = createGrpcClient({ address })
      try {
        await client.ready(Date.now() + 60_000).catch((error: unknown) => {
          throw new Error(`the system did not start:\n${output}`, { cause: error })
        })
        const nowMs = Date.now()
        const purchase = (id: string, atMs: number, amount: number): Record<string, string | number | boolean> => ({
          purchase_id: id,
          occurred_at: atMs,
          customer_id: 'c-1',
          amount,
          country: 'DE',
          gift: false,
        })
        const events = Array.from({ length: 9 }, (_, index) =>
          purchase(`p-${index}`, nowMs - 10_000 + index, 10 + index),
        )
        const published = await client.publishEvents({ source: 'purchase', events })
        expect(published.every(result => result.ok)).toBe(true)
        const ask = { service: 'checkout', event: purchase('p-9', nowMs, 12.5), includeFeatures: true }
        const of = { kind: 'groups', groups: ['customer_activity'], entities: { customer: 'c-1' } } as const
        await expect
          .poll(async () => (await client.getFeatures({ of })).features['customer_activity.purchases_1h'], {
            timeout: 30_000,
          })
          .toBe(9)
        const answer = await client.score(ask)
        expect(answer.decision).toBe('decline')
        expect(answer.matchedRules).toEqual(['burst'])
        expect(answer.features).toMatchObject({
          'customer_activity.purchases_1h': 10,
          'customer_activity.spend_24h': 138.5,
          'customer_activity.largest_7d': 18,
          'customer_activity.countries_7d': 1,
          'customer_activity.mean_amount_30d': 14,
        })
      } finally {
        client.close()
      }
    })
  })
})

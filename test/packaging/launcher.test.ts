import { spawn, spawnSync } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const root = resolve(import.meta.dirname, '..', '..')
const { pinnedNode } = (await import(pathToFileURL(join(root, 'bin', 'pinned-node.js')).href)) as {
  pinnedNode(): string | null
}
const { setupReason } = (await import(pathToFileURL(join(root, 'bin', 'setup.js')).href)) as {
  setupReason(root: string): string | null
}
const pinned = dirname(dirname(pinnedNode() ?? '/no/pinned/node'))

const main = `
const [mode, ...rest] = process.argv.slice(2)
process.on('SIGTERM', () => { console.log('SIGTERM'); process.exit(3) })
console.log(JSON.stringify({ pid: process.pid, execPath: process.execPath, rest, main: import.meta.main }))
if (mode === 'exit') process.exitCode = Number(rest[0])
if (mode === 'stdin') process.stdin.pipe(process.stdout)
if (mode === 'wait') setInterval(() => {}, 1000)
if (mode === 'abort') process.kill(process.pid, 'SIGKILL')
`

/** As on a Node that cannot replace itself by exec, such as Node 20. */
const withoutExec = ['--import', 'data:text/javascript,process.execve=undefined']
/** As on Node 20 in full. */
const asNode20 = [
  '--import',
  "data:text/javascript,process.execve=undefined;Object.defineProperty(process,'versions',{value:{...process.versions,node:'20.1.0'}});Object.defineProperty(process,'version',{value:'v20.1.0'})",
]

let project = ''
let launcher = ''

function installPackage(into: string, withPinnedNode: boolean): string {
  const folder = join(into, 'node_modules', 'headwater')
  for (const file of ['headwater.js', 'pinned-node.js', 'end-with-parent.js']) {
    mkdirSync(join(folder, 'bin'), { recursive: true })
    cpSync(join(root, 'bin', file), join(folder, 'bin', file))
  }
  mkdirSync(join(folder, 'dist', 'services', 'cli'), { recursive: true })
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
  writeFileSync(join(folder, 'dist', 'services', 'cli', 'main.js'), main)
  if (withPinnedNode) symlinkSync(pinned, join(into, 'node_modules', basename(pinned)))
  return join(folder, 'bin', 'headwater.js')
}

beforeAll(() => {
  project = realpathSync(mkdtempSync(join(tmpdir(), 'headwater-launcher-')))
  launcher = installPackage(project, true)
})
afterAll(() => rmSync(project, { recursive: true, force: true }))

interface Started {
  readonly pid: number
  readonly execPath: string
  readonly rest: readonly string[]
  readonly main: boolean
}

function launch(
  flags: readonly string[],
  args: readonly string[],
): { code: number | null; started: Started; output: string } {
  const done = spawnSync(process.execPath, [...flags, launcher, ...args], { input: 'typed', encoding: 'utf8' })
  const [first = '{}', ...output] = done.stdout.split('\n')
  return { code: done.status, started: JSON.parse(first) as Started, output: output.join('\n') }
}

async function launchAndWait(
  flags: readonly string[],
): Promise<{ child: ChildProcess; started: Started; lines: string[] }> {
  const child = spawn(process.execPath, [...flags, launcher, 'wait'], { stdio: ['ignore', 'pipe', 'inherit'] })
  const lines: string[] = []
  const reader = createInterface({ input: child.stdout })
  const [first] = (await once(reader, 'line')) as [string]
  reader.on('line', line => lines.push(line))
  return { child, started: JSON.parse(first) as Started, lines }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

describe.each([
  ['a Node that can exec', [] as readonly string[]],
  ['a Node that cannot exec', withoutExec],
])('the launcher on %s', (name, flags) => {
  it('runs the built entry on the pinned Node with the same arguments', () => {
    const { started, code } = launch(flags, ['exit', '0', '--flag', 'two words'])
    expect(dirname(dirname(started.execPath))).toBe(realpathSync(pinned))
    expect(started.rest).toEqual(['0', '--flag', 'two words'])
    expect(started.main).toBe(true)
    expect(code).toBe(0)
  })

  it('ends with the same exit code and passes standard input', () => {
    expect(launch(flags, ['exit', '7']).code).toBe(7)
    expect(launch(flags, ['stdin']).output).toBe('typed')
  })

  it('passes SIGTERM on and ends with what the process made of it', async () => {
    const { child, lines } = await launchAndWait(flags)
    child.kill('SIGTERM')
    const [code] = (await once(child, 'close')) as [number]
    expect({ code, lines }).toEqual({ code: 3, lines: ['SIGTERM'] })
  })

  it('leaves nothing behind when it is killed', async () => {
    const { child, started, lines } = await launchAndWait(flags)
    child.kill('SIGKILL')
    await once(child, 'close')
    await expect.poll(() => isAlive(started.pid), { timeout: 20_000 }).toBe(false)
    expect(lines).toEqual(flags.length === 0 ? [] : ['SIGTERM'])
  })

  if (name.endsWith('cannot exec')) {
    it('ends with 128 plus the number of a signal that killed the process', () => {
      expect(launch(flags, ['abort']).code).toBe(137)
    })
  }
})

describe('without the pinned Node', () => {
  let bare = ''
  beforeAll(() => {
    bare = realpathSync(mkdtempSync(join(tmpdir(), 'headwater-bare-')))
  })
  afterAll(() => rmSync(bare, { recursive: true, force: true }))

  it('runs on the Node it was started with when that is new enough', () => {
    const bareLauncher = installPackage(bare, false)
    const done = spawnSync(process.execPath, [bareLauncher, 'exit', '0'], { encoding: 'utf8' })
    expect((JSON.parse(done.stdout) as Started).execPath).toBe(process.execPath)
  })

  it('names what is missing and the remedy on an older one', () => {
    const done = spawnSync(process.execPath, [...asNode20, installPackage(bare, false), 'exit', '0'], {
      encoding: 'utf8',
    })
    expect(done.status).toBe(1)
    expect(done.stdout).toBe('')
    expect(done.stderr).toContain('Headwater needs Node 24 or newer; this is v20.1.0')
    expect(done.stderr).toContain('npm install --include=optional')
  })

  it('says so when the package was not built', () => {
    const bareLauncher = installPackage(bare, true)
    rmSync(join(bare, 'node_modules', 'headwater', 'dist'), { recursive: true })
    const done = spawnSync(process.execPath, [bareLauncher, 'plan'], { encoding: 'utf8' })
    expect(done.status).toBe(1)
    expect(done.stderr).toContain('the package is incomplete')
  })
})

describe('set-up of a checkout', () => {
  let checkout = ''
  const lock = (packages: object): string => JSON.stringify({ lockfileVersion: 3, packages })
  const wanted = {
    '': {},
    'node_modules/a': { version: '1.0.0' },
    'node_modules/b': { version: '2.0.0', optional: true },
  }

  beforeAll(() => {
    checkout = mkdtempSync(join(tmpdir(), 'headwater-setup-'))
    writeFileSync(join(checkout, 'package-lock.json'), lock(wanted))
  })
  afterAll(() => rmSync(checkout, { recursive: true, force: true }))

  const reasonWith = (installed: object | null): string | null => {
    rmSync(join(checkout, 'node_modules'), { recursive: true, force: true })
    if (installed !== null) {
      mkdirSync(join(checkout, 'node_modules'))
      writeFileSync(join(checkout, 'node_modules', '.package-lock.json'), lock(installed))
    }
    return setupReason(checkout)
  }

  it('is needed when nothing, too little or another version is installed', () => {
    expect(reasonWith(null)).toContain('node_modules is missing')
    expect(reasonWith({})).toContain('node_modules/a is missing')
    expect(reasonWith({ 'node_modules/a': { version: '0.9.0' } })).toContain('node_modules/a is 0.9.0')
    expect(reasonWith({ 'node_modules/a': { version: '1.0.0' }, 'node_modules/b': { version: '1.0.0' } })).toContain(
      '/b',
    )
  })

  it('is not needed when all is as locked, optional packages of other platforms aside', () => {
    expect(reasonWith({ 'node_modules/a': { version: '1.0.0' } })).toBeNull()
    expect(reasonWith({ 'node_modules/a': { version: '1.0.0' }, 'node_modules/b': { version: '2.0.0' } })).toBeNull()
  })
})

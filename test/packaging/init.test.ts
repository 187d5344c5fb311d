import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { initProject } from '../../services/cli/init.ts'

const root = resolve(import.meta.dirname, '..', '..')
const scaffolded = [
  '.gitignore',
  '.npmrc',
  'README.md',
  'features/index.ts',
  'headwater.config.ts',
  'package.json',
  'tsconfig.json',
]

let parent = ''
beforeEach(() => {
  parent = realpathSync(mkdtempSync(join(tmpdir(), 'headwater-init-')))
})
afterEach(() => rmSync(parent, { recursive: true, force: true }))

interface Manifest {
  readonly name: string
  readonly type: string
  readonly scripts: Readonly<Record<string, string>>
  readonly dependencies: Readonly<Record<string, string>>
}

function manifestIn(directory: string): Manifest {
  return JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8')) as Manifest
}

/** The compiler over a scaffolded project, with this checkout's sources in the place of the installed package. */
function typeErrors(directory: string): string {
  const config = {
    extends: './tsconfig.json',
    compilerOptions: {
      types: ['node'],
      typeRoots: [join(root, 'node_modules', '@types')],
      lib: ['es2024', 'esnext.collection', 'esnext.iterator'],
      paths: {
        headwater: [join(root, 'features', 'define', 'index.ts')],
        'headwater/config': [join(root, 'topology', 'runtime', 'config.ts')],
      },
    },
    include: ['headwater.config.ts', 'features'],
  }
  writeFileSync(join(directory, 'tsconfig.test.json'), JSON.stringify(config))
  const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  return spawnSync(process.execPath, [compiler, '-p', 'tsconfig.test.json'], { cwd: directory, encoding: 'utf8' })
    .stdout
}

describe('headwater init', () => {
  it('makes a project in a new folder and says what to do next', async () => {
    const directory = join(parent, 'My Features')
    const made = await initProject({ directory, force: false, packageSpec: 'file:../headwater.tgz' })
    expect(made).toEqual({
      directory,
      written: scaffolded,
      kept: [],
      nextSteps: [`cd '${directory}'`, 'npm install', 'npm run plan', 'npm start'],
    })
    expect(manifestIn(directory)).toMatchObject({
      name: 'my-features',
      type: 'module',
      scripts: { plan: 'headwater plan', start: 'headwater run all' },
      dependencies: { headwater: 'file:../headwater.tgz' },
    })
  })

  it('makes definitions whose types hold, and refuses a field that does not exist', async () => {
    await initProject({ directory: parent, force: false })
    expect(typeErrors(parent)).toBe('')
    const file = join(parent, 'features', 'index.ts')
    writeFileSync(file, readFileSync(file, 'utf8').replace('e.sum(e.amount,', 'e.sum(e.amuont,'))
    expect(typeErrors(parent)).toMatch(/features\/index\.ts.*amuont/)
  })

  it('quotes a folder in the steps where the shell needs it', async () => {
    const stepOf = async (name: string) =>
      (await initProject({ directory: join(parent, name), force: false, packageSpec: '^0.1.0' })).nextSteps[0]
    expect(await stepOf('plain-1.x')).toBe(`cd ${join(parent, 'plain-1.x')}`)
    const step = await stepOf("it's $HOME")
    const ran = spawnSync('sh', ['-c', `${step} && pwd`], { encoding: 'utf8' })
    expect(ran.stdout).toBe(`${join(parent, "it's $HOME")}\n`)
  })

  it('refuses a file, and a folder inside a file', async () => {
    const file = join(parent, 'notes.txt')
    writeFileSync(file, 'mine')
    const refused = `${file} is a file, not a folder; name a new folder.`
    await expect(initProject({ directory: file, force: false })).rejects.toThrow(refused)
    await expect(initProject({ directory: join(file, 'a', 'b'), force: true })).rejects.toThrow(refused)
  })

  it.runIf(process.platform === 'linux')('says so where no folder can be made', async () => {
    await expect(initProject({ directory: '/proc/x/y', force: false })).rejects.toThrow(
      /\/proc\/x cannot be made .*ENOENT/,
    )
  })

  it('refuses a folder that is not empty', async () => {
    writeFileSync(join(parent, 'notes.txt'), 'mine')
    await expect(initProject({ directory: parent, force: false })).rejects.toThrow(/notes\.txt.*--force/)
    expect(readFileSync(join(parent, 'notes.txt'), 'utf8')).toBe('mine')
  })

  it('with force keeps every file that exists and completes package.json', async () => {
    mkdirSync(join(parent, 'features'))
    writeFileSync(join(parent, 'features', 'index.ts'), 'export const mine = 1\n')
    writeFileSync(join(parent, 'package.json'), '{ "name": "mine", "scripts": { "start": "mine" }, "private": true }')
    const made = await initProject({ directory: parent, force: true, packageSpec: '^0.1.0' })
    expect(made.kept).toEqual(['features/index.ts'])
    expect(readFileSync(join(parent, 'features', 'index.ts'), 'utf8')).toBe('export const mine = 1\n')
    expect(manifestIn(parent)).toMatchObject({
      name: 'mine',
      private: true,
      type: 'module',
      scripts: { start: 'mine', plan: 'headwater plan' },
      dependencies: { headwater: '^0.1.0' },
    })
  })

  it('names a package.json that it cannot complete, and writes nothing', async () => {
    writeFileSync(join(parent, 'package.json'), '{ "type": "commonjs" }')
    await expect(initProject({ directory: parent, force: true })).rejects.toThrow(
      /package\.json says "type": "commonjs"/,
    )
    writeFileSync(join(parent, 'package.json'), '{ oops')
    await expect(initProject({ directory: parent, force: true })).rejects.toThrow(/package\.json is not valid JSON/)
  })
})

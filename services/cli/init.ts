import { existsSync, statSync } from 'node:fs'
import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises'
import { basename, dirname, join, relative, resolve, sep } from 'node:path'

/** Files that npm would drop from a package, or read as its own, are stored under another name. */
const storedNames: Readonly<Record<string, string>> = { _gitignore: '.gitignore', _npmrc: '.npmrc' }

const scaffoldFolder = join(import.meta.dirname, 'scaffold')
const typescriptVersion = '7.0.2'

/** What `initProject` did. Paths are relative to `directory`, which is absolute. */
export interface InitResult {
  readonly directory: string
  readonly written: readonly string[]
  /** Files that were there before and were left as they are. */
  readonly kept: readonly string[]
  /** Shell commands, in order, that bring the new project to its first score. */
  readonly nextSteps: readonly string[]
}

/**
 * Makes a project of one's own in `directory`: configuration, a first set of definitions, and what npm and TypeScript
 * need. A folder that is not empty is refused unless `force` is set; with it, files that exist are kept, and an
 * existing package.json gains only what it lacks.
 * @param options.packageSpec what package.json asks npm for, such as `file:../headwater-0.1.0.tgz`; absent: this version
 * @throws {Error} naming the folder or file that stands in the way, and the remedy
 */
export async function initProject(options: {
  readonly directory: string
  readonly force: boolean
  readonly packageSpec?: string
}): Promise<InitResult> {
  const directory = resolve(options.directory)
  refuseFile(directory)
  const present = existsSync(directory) ? await readdir(directory) : []
  if (present.length > 0 && !options.force) {
    throw new Error(
      `${directory} is not empty (it holds ${present.slice(0, 3).join(', ')}${present.length > 3 ? ', …' : ''}). ` +
        'Name a new folder, or give --force: files that exist are kept.',
    )
  }
  const own = await ownPackage()
  const manifest = await mergedManifest(directory, options.packageSpec ?? own.spec)
  const written: string[] = []
  const kept: string[] = []
  for (const [file, text] of [...(await scaffoldFiles()), manifest]) {
    const target = join(directory, file)
    if (existsSync(target) && file !== 'package.json') {
      kept.push(file)
      continue
    }
    await makeFolder(dirname(target))
    await writeFile(target, text)
    written.push(file)
  }
  const here = relative(process.cwd(), directory)
  const nextSteps = [
    ...(options.packageSpec === undefined ? own.firstSteps : []),
    ...(here === '' ? [] : [`cd ${shellWord(here.startsWith('..') ? directory : here)}`]),
    'npm install',
    'npm run plan',
    'npm start',
  ]
  return { directory, written: written.toSorted(), kept: kept.toSorted(), nextSteps }
}

/** Throws where the path, or what would hold it, is a file. */
function refuseFile(directory: string): void {
  let nearest = directory
  while (!existsSync(nearest) && dirname(nearest) !== nearest) nearest = dirname(nearest)
  if (statSync(nearest).isDirectory()) return
  throw new Error(`${nearest} is a file, not a folder; name a new folder.`)
}

/**
 * Makes a folder and those above it, one by one: where a file system refuses new entries with ENOENT, as /proc does,
 * Node's recursive mkdir tries for ever.
 */
async function makeFolder(folder: string): Promise<void> {
  if (existsSync(folder)) return
  await makeFolder(dirname(folder))
  try {
    await mkdir(folder)
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new Error(`${folder} cannot be made (${why}). Name a folder in a place that you may write to.`, {
      cause: error,
    })
  }
}

/** The text as one word of a shell command. */
function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`
}

async function scaffoldFiles(): Promise<readonly (readonly [file: string, text: string])[]> {
  const entries = await readdir(scaffoldFolder, { recursive: true, withFileTypes: true })
  return Promise.all(
    entries
      .filter(entry => entry.isFile())
      .map(async entry => {
        const path = join(entry.parentPath, entry.name)
        const name = storedNames[entry.name] ?? entry.name
        const file = join(relative(scaffoldFolder, entry.parentPath), name).split(sep).join('/')
        return [file, await readFile(path, 'utf8')] as const
      }),
  )
}

interface Manifest {
  readonly name?: string
  readonly version?: string
  readonly type?: string
  readonly scripts?: Readonly<Record<string, string>>
  readonly dependencies?: Readonly<Record<string, string>>
  readonly devDependencies?: Readonly<Record<string, string>>
}

async function mergedManifest(directory: string, packageSpec: string): Promise<readonly [file: string, text: string]> {
  const file = join(directory, 'package.json')
  const present = existsSync(file) ? await readManifest(file) : null
  if (present?.type !== undefined && present.type !== 'module') {
    throw new Error(
      `${file} says "type": "${present.type}"; definitions are ES modules. Set it to "module" and try again.`,
    )
  }
  const name = basename(directory)
    .toLowerCase()
    .replaceAll(/[^a-z0-9._-]+/g, '-')
    .replace(/^[._-]+/, '')
  const merged = {
    ...(present ?? { name: name === '' ? 'features' : name, version: '0.0.0', private: true }),
    type: 'module',
    scripts: { plan: 'headwater plan', start: 'headwater run all', check: 'tsc -p .', ...present?.scripts },
    dependencies: { headwater: packageSpec, ...present?.dependencies },
    devDependencies: { typescript: typescriptVersion, ...present?.devDependencies },
  }
  return ['package.json', `${JSON.stringify(merged, null, 2)}\n`]
}

async function readManifest(file: string): Promise<Manifest> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Manifest
  } catch (error) {
    throw new Error(`${file} is not valid JSON (${String(error)}). Correct it and try again.`, { cause: error })
  }
}

/** How a new project gets this package: from a registry, or, out of a checkout, as a packed file. */
async function ownPackage(): Promise<{ readonly spec: string; readonly firstSteps: readonly string[] }> {
  const inCheckout = existsSync(join(import.meta.dirname, 'main.ts'))
  const root = resolve(import.meta.dirname, ...(inCheckout ? ['..', '..'] : ['..', '..', '..']))
  const { version = '0.0.0' } = await readManifest(join(root, 'package.json'))
  if (!inCheckout) return { spec: `^${version}`, firstSteps: [] }
  return {
    spec: `file:${join(root, `headwater-${version}.tgz`)}`,
    firstSteps: [`(cd ${shellWord(root)} && npm run package)`],
  }
}

import { createHash } from 'node:crypto'
import { readFileSync, readdirSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { parse, parseAllDocuments } from 'yaml'

export const ROOT = resolve(import.meta.dirname, '..', '..')
export const DEPLOY = join(ROOT, 'topology', 'deploy')
export const CHART = join(DEPLOY, 'helm', 'headwater')
export const RENDERED = join(import.meta.dirname, 'rendered')

/** A value of a parsed YAML or JSON file, looked into without types: what it must be, the schemas say. */
// oxlint-disable-next-line typescript/no-explicit-any -- see above
export type Loose = any

/** The parts of the chart that are rendered and kept: file, release, Kubernetes namespace, files of values. */
export const RENDERINGS = [
  { file: 'defaults.yaml', release: 'headwater', namespace: 'default', values: [] },
  { file: 'everything.yaml', release: 'hw', namespace: 'fraud', values: [join(RENDERED, 'everything.values.yaml')] },
] as const

/** The least version of Kubernetes for which manifests are rendered. */
export const KUBERNETES = '1.29.0'

/** Parses a YAML file of one document, with merge keys, as Compose does. */
export function readYaml(path: string): Loose {
  return parse(readFileSync(path, 'utf8'), { merge: true })
}

/** The objects of a file of Kubernetes manifests. */
export function readManifests(path: string): readonly Loose[] {
  return parseAllDocuments(readFileSync(path, 'utf8'))
    .map(document => document.toJS())
    .filter(object => object !== null)
}

function filesUnder(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name))
    .toSorted()
}

/** What a rendering depends on, as the first line of the file that keeps it; the schema only says which values are taken. */
export function renderedFrom(values: readonly string[]): string {
  const hash = createHash('sha256').update(KUBERNETES)
  const chart = filesUnder(CHART).filter(file => !file.endsWith('values.schema.json'))
  for (const file of [...chart, ...values]) {
    hash.update(`\0${relative(ROOT, file).replaceAll('\\', '/')}\0`).update(readFileSync(file))
  }
  return `# Rendered by Helm from chart and values ${hash.digest('hex')}`
}

/**
 * Puts variables into the text of a Compose file: `${NAME}`, `${NAME:-default}` and `${NAME:?reason}`.
 * @throws {Error} naming a variable that has no value
 */
export function interpolate(text: string, variables: Readonly<Record<string, string>>): string {
  return text.replaceAll(/\$\{(\w+)(?::([-?])([^}]*))?\}/g, (_, name: string, mark?: string, rest = '') => {
    const value = variables[name]
    if (value !== undefined && value !== '') return value
    if (mark === '-') return String(rest)
    throw new Error(`${name} has no value: ${String(rest)}`)
  })
}

/** The variables that .env.example names, and a project. */
export function exampleVariables(): Readonly<Record<string, string>> {
  const lines = readFileSync(join(DEPLOY, '.env.example'), 'utf8').split('\n')
  const pairs = lines.filter(line => /^\w+=/.test(line)).map(line => line.split('=') as [string, string])
  return { ...Object.fromEntries(pairs), PROJECT: '/srv/project' }
}

/** A Compose file with its variables put in. */
export function readCompose(name: string): Loose {
  return parse(interpolate(readFileSync(join(DEPLOY, name), 'utf8'), exampleVariables()), { merge: true })
}

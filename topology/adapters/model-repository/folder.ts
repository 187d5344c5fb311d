import { createHash } from 'node:crypto'
import { readFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { PortError } from '../../ports/errors.ts'
import type { ModelManifest, ModelRepository } from '../../ports/model-repository.ts'

const MODEL_FILE = 'model.onnx'
const MANIFEST_FILE = 'manifest.json'
const CURRENT_FILE = 'current'
const PLAIN_NAME = /^\w[\w.-]*$/

/**
 * Models in folders: `<folder>/<name>/<version>/{model.onnx, manifest.json}`. Which version is current is said by the
 * text file `<folder>/<name>/current`; without it there must be exactly one version. `open` throws PortError
 * `MODEL_NOT_FOUND` where nothing is, and `MODEL_INVALID` with every problem of the manifest and the checksums.
 */
export function createFolderModelRepository(folder: string): ModelRepository {
  return {
    open: async name => {
      if (!PLAIN_NAME.test(name)) throw new PortError('MODEL_NOT_FOUND', `"${name}" is not the name of a model`)
      const home = join(folder, name)
      const version = await currentVersion(home, name)
      const manifestPath = join(home, version, MANIFEST_FILE)
      const document = parseJson(await readModelFile(manifestPath), manifestPath)
      const problems = manifestProblems(document)
      const manifest = document as ModelManifest
      if (problems.length === 0) {
        if (manifest.name !== name) problems.push(`name is "${manifest.name}", but the folder is "${name}"`)
        if (manifest.version !== version)
          problems.push(`version is "${manifest.version}", but the folder is "${version}"`)
        problems.push(...(await checksumProblems(join(home, version), manifest.checksums)))
      }
      if (problems.length > 0) {
        throw new PortError('MODEL_INVALID', `manifest ${manifestPath} is not usable:\n- ${problems.join('\n- ')}`)
      }
      return { manifest, path: join(home, version, MODEL_FILE) }
    },
  }
}

function isAbsent(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : null
  return code === 'ENOENT' || code === 'ENOTDIR'
}

async function currentVersion(home: string, name: string): Promise<string> {
  try {
    const version = (await readFile(join(home, CURRENT_FILE), 'utf8')).trim()
    if (PLAIN_NAME.test(version)) return version
    throw new PortError('MODEL_INVALID', `${join(home, CURRENT_FILE)} must hold the name of a version folder`)
  } catch (error) {
    if (!isAbsent(error)) throw error
  }
  let versions: string[]
  try {
    const entries = await readdir(home, { withFileTypes: true })
    versions = entries.filter(entry => entry.isDirectory()).map(entry => entry.name)
  } catch (error) {
    if (!isAbsent(error)) throw error
    throw new PortError('MODEL_NOT_FOUND', `there is no model "${name}": ${home} does not exist`, { cause: error })
  }
  const [only] = versions
  if (only === undefined) throw new PortError('MODEL_NOT_FOUND', `${home} holds no version of model "${name}"`)
  if (versions.length > 1) {
    const found = versions.toSorted().join(', ')
    const remedy = `write the one to serve into ${join(home, CURRENT_FILE)}`
    throw new PortError('MODEL_INVALID', `model "${name}" has versions ${found} and no current one: ${remedy}`)
  }
  return only
}

async function readModelFile(path: string): Promise<Buffer> {
  try {
    return await readFile(path)
  } catch (error) {
    if (!isAbsent(error)) throw error
    throw new PortError('MODEL_NOT_FOUND', `${path} does not exist`, { cause: error })
  }
}

function parseJson(bytes: Buffer, path: string): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch (error) {
    throw new PortError('MODEL_INVALID', `${path} is not JSON: ${(error as Error).message}`, { cause: error })
  }
}

async function checksumProblems(folder: string, checksums: Readonly<Record<string, string>>): Promise<string[]> {
  const problems: string[] = []
  if (!(MODEL_FILE in checksums)) problems.push(`checksums does not name ${MODEL_FILE}`)
  for (const [file, expected] of Object.entries(checksums)) {
    if (!PLAIN_NAME.test(file)) {
      problems.push(`checksums names "${file}", which is not a plain file name`)
      continue
    }
    try {
      const found = createHash('sha256')
        .update(await readFile(join(folder, file)))
        .digest('hex')
      if (found !== expected) problems.push(`${file} has sha256 ${found}, the manifest says ${expected}`)
    } catch (error) {
      if (!isAbsent(error)) throw error
      problems.push(`${file} does not exist in ${folder}`)
    }
  }
  return problems
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isNumbers(value: unknown): value is number[] {
  return Array.isArray(value) && value.every(item => typeof item === 'number' && Number.isFinite(item))
}

/** Every way in which a parsed manifest differs from `ModelManifest`; empty when it is one. */
export function manifestProblems(document: unknown): string[] {
  if (!isRecord(document)) return ['it is not a JSON object']
  const problems: string[] = []
  for (const field of ['name', 'version', 'scoreOutput', 'planHash', 'trainedAt']) {
    const value = document[field]
    if (typeof value !== 'string' || value === '')
      problems.push(`${field} must be a text, found ${JSON.stringify(value)}`)
  }
  if (!Number.isSafeInteger(document['rows'])) problems.push('rows must be an integer')
  problems.push(...inputProblems(document['inputs']))
  for (const [field, kind] of [
    ['metrics', 'number'],
    ['checksums', 'string'],
  ] as const) {
    const value = document[field]
    if (!isRecord(value) || Object.values(value).some(item => typeof item !== kind)) {
      problems.push(`${field} must be an object of ${kind}s`)
    }
  }
  const reference = document['reference']
  if (!Array.isArray(reference)) problems.push('reference must be a list of histograms')
  else for (const [index, item] of reference.entries()) problems.push(...histogramProblems(item, `reference[${index}]`))
  return problems
}

function inputProblems(inputs: unknown): string[] {
  if (!Array.isArray(inputs) || inputs.length === 0) return ['inputs must be a list with at least one input']
  const problems: string[] = []
  const names = new Set<unknown>()
  for (const [index, input] of inputs.entries()) {
    const where = `inputs[${index}]`
    if (!isRecord(input)) {
      problems.push(`${where} must be an object with name and default`)
      continue
    }
    const name = input['name']
    if (typeof name !== 'string' || !/^[^.]+\.[^.]+$/.test(name)) {
      problems.push(`${where}.name must look like group.feature, found ${JSON.stringify(name)}`)
    } else if (names.has(name)) problems.push(`${where}.name "${name}" is named twice`)
    names.add(name)
    if (!Number.isFinite(input['default'])) problems.push(`${where}.default must be a finite number`)
  }
  return problems
}

function histogramProblems(item: unknown, where: string): string[] {
  if (!isRecord(item)) return [`${where} must be an object`]
  const problems: string[] = []
  if (typeof item['feature'] !== 'string') problems.push(`${where}.feature must be a text`)
  const edges = item['edges']
  const counts = item['counts']
  if (!isNumbers(edges)) problems.push(`${where}.edges must be a list of numbers`)
  else if (edges.some((edge, index) => index > 0 && edge <= (edges[index - 1] ?? NaN))) {
    problems.push(`${where}.edges must ascend`)
  }
  if (!isNumbers(counts)) problems.push(`${where}.counts must be a list of numbers`)
  else if (isNumbers(edges) && counts.length !== edges.length + 1) {
    problems.push(
      `${where}.counts must hold ${edges.length + 1} counts for ${edges.length} edges, found ${counts.length}`,
    )
  }
  if (typeof item['missing'] !== 'number') problems.push(`${where}.missing must be a number`)
  return problems
}

import { existsSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Project } from '../features/plan/compile.ts'
import type { Problem } from '../features/plan/plan.ts'
import { parseConfig } from '../topology/runtime/config.ts'
import type { Config, ConfigProblem, TlsConfig } from '../topology/runtime/config.ts'
import { loadProject } from '../topology/runtime/project.ts'

/** Something the user can put right: the text says what and how, no stack is wanted. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'UsageError'
  }
}

/** The flags that every command which needs a configuration takes. */
export interface CommonFlags {
  readonly config?: string
  readonly set?: readonly string[]
  readonly features?: readonly string[]
  readonly data?: string
}

const SHIPPED = resolve(import.meta.dirname, '..', 'features')
const EXTENSION = import.meta.filename.endsWith('.ts') ? 'ts' : 'js'
const CONFIG_NAMES = ['headwater.config.ts', 'headwater.config.js', 'headwater.config.mjs']

/** The definitions that come with the package, used where a folder has no configuration of its own. */
export const SHIPPED_CONFIG = {
  features: [resolve(SHIPPED, 'fraud', `index.${EXTENSION}`), resolve(SHIPPED, 'cards', `index.${EXTENSION}`)],
  models: { directory: resolve(SHIPPED, 'fraud', 'model') },
}

function flagSettings(flags: CommonFlags): Record<string, string> {
  const out: Record<string, string> = {}
  for (const pair of flags.set ?? []) {
    const at = pair.indexOf('=')
    if (at < 1) throw new UsageError(`--set ${pair}: write it as --set key=value, for example --set server.port=50051`)
    out[pair.slice(0, at)] = pair.slice(at + 1)
  }
  if (flags.features !== undefined) out['features'] = flags.features.map(path => resolve(path)).join(',')
  if (flags.data !== undefined) out['dataDirectory'] = resolve(flags.data)
  return out
}

function describeConfigProblems(problems: readonly ConfigProblem[]): string {
  const lines = problems.map(problem => `  ${problem.origin}: ${problem.key} ${problem.message}`)
  return [`the configuration has ${problems.length} problem${problems.length === 1 ? '' : 's'}:`, ...lines].join('\n')
}

async function readConfigFile(flags: CommonFlags): Promise<{ path: string; content: unknown } | null> {
  if (flags.config !== undefined && !existsSync(flags.config)) {
    throw new UsageError(`--config ${flags.config}: there is no such file`)
  }
  const path = flags.config ?? CONFIG_NAMES.find(name => existsSync(name))
  if (path === undefined) return null
  const full = resolve(path)
  try {
    const module = (await import(pathToFileURL(full).href)) as { default?: unknown }
    return { path: full, content: module.default }
  } catch (error) {
    throw new UsageError(`${full} cannot be loaded: ${error instanceof Error ? error.message : String(error)}`)
  }
}

/**
 * The configuration from file, environment and flags, with every path made absolute: relative to the file that says it,
 * or to the working folder. Without a file the shipped definitions are used.
 */
export async function loadConfig(flags: CommonFlags): Promise<{ readonly config: Config; readonly shipped: boolean }> {
  const file = await readConfigFile(flags)
  const parsed = parseConfig({
    file: file ?? { path: 'the shipped configuration', content: SHIPPED_CONFIG },
    environment: process.env,
    flags: flagSettings(flags),
  })
  if (!parsed.ok) throw new UsageError(describeConfigProblems(parsed.problems))
  const base = file === null ? process.cwd() : dirname(file.path)
  const { config } = parsed
  return {
    shipped: file === null,
    config: {
      ...config,
      features: config.features.map(path => resolve(base, path)),
      dataDirectory: resolve(base, config.dataDirectory),
      models: { directory: resolve(base, config.models.directory) },
      eventLog: withFiles(base, config.eventLog),
      schemaRegistry: withFiles(base, config.schemaRegistry),
      onlineStore: withFiles(base, config.onlineStore),
      offlineStore: withFiles(base, config.offlineStore),
    },
  }
}

function withFiles<T extends TlsConfig>(base: string, part: T): T {
  const file = (path: string): string => (path === '' ? '' : resolve(base, path))
  return { ...part, tlsCa: file(part.tlsCa), tlsCert: file(part.tlsCert), tlsKey: file(part.tlsKey) }
}

/** All problems of a plan, one paragraph each. */
export function describeProblems(problems: readonly Problem[]): string {
  const parts = problems.map(p => `${p.code} ${p.file}\n  ${p.where}: ${p.message}\n  remedy: ${p.remedy}`)
  return [`the plan has ${problems.length} problem${problems.length === 1 ? '' : 's'}:`, ...parts].join('\n')
}

/** Loads and compiles the definitions of a configuration; problems are one UsageError. */
export async function loadDefinitions(config: Config): Promise<Project> {
  const loaded = await loadProject(config.features)
  if (!loaded.ok) throw new UsageError(describeProblems(loaded.problems))
  return loaded.project
}

import { existsSync } from 'node:fs'
import { createHash } from 'node:crypto'
import { dirname, resolve, sep } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from 'esbuild'
import type { Plugin } from 'esbuild'
import { compileProject } from '../../features/plan/compile.ts'
import type { Project } from '../../features/plan/compile.ts'
import type { Problem } from '../../features/plan/plan.ts'

/** The root of this package, in a checkout or as installed. */
const OWN_FEATURES = resolve(import.meta.dirname, '..', '..', 'features')

/** Keeps the authoring language itself out of bundles: its version is in the lock file, not in the author's code. */
const languageIsExternal: Plugin = {
  name: 'authoring-language-is-external',
  setup(builder) {
    builder.onResolve({ filter: /^\.\.?\// }, args => {
      const target = resolve(args.resolveDir, args.path)
      const own = ['define', 'kernel', 'plan', 'policy', 'statistics'].some(folder =>
        target.startsWith(`${OWN_FEATURES}${sep}${folder}${sep}`),
      )
      return own ? { path: 'headwater', external: true } : null
    })
  },
}

/** Hash of a module with all that it imports, whatever its comments and white space. */
async function bundleHash(file: string): Promise<string> {
  const result = await build({
    entryPoints: [file],
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'node',
    external: ['headwater', 'headwater/*'],
    minifyWhitespace: true,
    legalComments: 'none',
    logLevel: 'silent',
    absWorkingDir: dirname(file),
    plugins: [languageIsExternal],
  })
  const hash = createHash('sha256')
  for (const output of result.outputFiles) hash.update(output.contents)
  return hash.digest('hex')
}

function moduleProblem(file: string, code: string, error: unknown, remedy: string): Problem {
  const message = error instanceof Error ? error.message : String(error)
  return { code, file, where: 'module', message, remedy }
}

/**
 * Loads definition modules and compiles them; all problems of all files together. Paths are absolute.
 */
export async function loadProject(
  files: readonly string[],
): Promise<
  { readonly ok: true; readonly project: Project } | { readonly ok: false; readonly problems: readonly Problem[] }
> {
  const problems: Problem[] = []
  const definitions: { file: string; exports: Readonly<Record<string, unknown>> }[] = []
  const bundleHashes: Record<string, string> = {}
  for (const file of files) {
    if (!existsSync(file)) {
      const remedy = 'write the module, or correct `features` in the configuration'
      problems.push(moduleProblem(file, 'HW0001', new Error('there is no such file'), remedy))
      continue
    }
    try {
      bundleHashes[file] = await bundleHash(file)
      definitions.push({ file, exports: (await import(pathToFileURL(file).href)) as Record<string, unknown> })
    } catch (error) {
      problems.push(moduleProblem(file, 'HW0002', error, 'correct the module so that it can be loaded'))
    }
  }
  const compiled = compileProject({ definitions, bundleHashes })
  if (compiled.ok && problems.length === 0) return compiled
  return { ok: false, problems: [...problems, ...(compiled.ok ? [] : compiled.problems)] }
}

import type { Plan } from '../../features/plan/plan.ts'
import { checkManifestAgainstPlan } from '../scoring/model-input.ts'
import type { ServedModel } from '../scoring/options.ts'
import { PortError } from '../ports/errors.ts'
import type { ModelManifest } from '../ports/model-repository.ts'
import type { Config } from './config.ts'

/** The current manifest of every model that a service of the plan names, checked against the plan. */
export async function readManifests(
  config: Config,
  plan: Plan,
): Promise<ReadonlyMap<string, { readonly manifest: ModelManifest; readonly path: string }>> {
  const { createFolderModelRepository } = await import('../adapters/model-repository/folder.ts')
  const repository = createFolderModelRepository(config.models.directory)
  const found = new Map<string, { manifest: ModelManifest; path: string }>()
  const problems: string[] = []
  for (const service of plan.services) {
    if (service.model === null) continue
    const opened = found.get(service.model) ?? (await repository.open(service.model))
    found.set(service.model, opened)
    for (const problem of checkManifestAgainstPlan(opened.manifest, plan, service)) {
      problems.push(`service ${service.name}, model ${service.model}: ${problem}`)
    }
  }
  if (problems.length > 0)
    throw new PortError('MODEL_INVALID', `models do not fit the plan:\n- ${problems.join('\n- ')}`)
  return found
}

/** Loads every model of the plan, ready to run. */
export async function loadModels(config: Config, plan: Plan): Promise<ReadonlyMap<string, ServedModel>> {
  const manifests = await readManifests(config, plan)
  const { createOnnxRuntime } = await import('../adapters/model-runtime/onnx/onnx.ts')
  const runtime = createOnnxRuntime()
  const models = new Map<string, ServedModel>()
  for (const [name, { manifest, path }] of manifests) {
    const options = { inputWidth: manifest.inputs.length, scoreOutput: manifest.scoreOutput }
    models.set(name, { manifest, model: await runtime.load(path, options) })
  }
  return models
}

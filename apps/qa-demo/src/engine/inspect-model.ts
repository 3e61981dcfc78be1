import { chooseBackend } from '@topk-attention/app-kit/backends';
import { loadModel } from '@topk-attention/models';
import {
  type Cluster,
  type ClusterOptions,
  createInspector,
  type InspectOptions,
  type Inspector,
  type ValueName,
  type ValueVector,
} from '@topk-attention/models/inspect';
import type { InspectContract, Inspected, InspectRequest, InspectResult } from './inspect-protocol.js';
import { hubError, settingsFiles } from './model-files.js';
import { choiceOf, type Kept, type Progress } from './protocol.js';

/** Loads a model in this process, looks into it and frees it. @throws TopKError as `loadModel` and the inspector. */
export async function inspectModel(
  { settings, request }: InspectContract['inspect']['argument'],
  onEvent: (event: Progress) => void,
): Promise<InspectResult> {
  const { backend, info } = await chooseBackend(settings);
  try {
    const model = await loadModel(settingsFiles(settings, onEvent), {
      backend,
      attention: choiceOf(request.attentionK),
      feedForward: unitsOf(request.feedForwardK),
      onProgress: ({ done, total }) => onEvent({ type: 'progress', stage: 'loading', done, total }),
    }).catch((error: unknown) => {
      throw hubError(error);
    });
    try {
      const inspector = createInspector(model, { stack: request.stack });
      return { inspected: await seen(inspector, request, onEvent), info };
    } finally {
      model.dispose();
    }
  } finally {
    await backend.dispose();
  }
}

/** By what they contribute, which holds for every activation: SiLU and GELU have negative values too. */
function unitsOf(k: Kept): 'exact' | { readonly k: number; readonly select: 'contribution' } {
  return k === 'exact' ? 'exact' : { k, select: 'contribution' };
}

async function seen(
  inspector: Inspector,
  { prompt, target, layers, position, interventions, search, values, clusters, top }: InspectRequest,
  onEvent: (event: Progress) => void,
): Promise<Inspected> {
  const onProgress = ({ done, total }: { readonly done: number; readonly total: number }): void =>
    onEvent({ type: 'progress', stage: 'indexing', done, total });
  const options: InspectOptions = {
    ...{ topTokens: top, topUnits: top },
    ...(target !== undefined && { target }),
    ...(layers !== undefined && { layers }),
    ...(position !== undefined && { position }),
  };
  const predictions =
    interventions.length === 0
      ? { plain: await inspector.inspect(prompt, options) }
      : await inspector.compare(prompt, { ...options, interventions });
  const vectors: ValueVector[] = [];
  for (const name of values) vectors.push(await inspector.valueVector(name, top));
  return {
    ...predictions,
    ...(vectors.length > 0 && { values: vectors }),
    ...(clusters !== undefined && {
      clusters: await clustersOf(inspector, values, { ...clusters, topTokens: top }),
    }),
    ...(search.length > 0 && { hits: (await inspector.index({ onProgress })).search(search, top) }),
  };
}

/** The clusters of these value vectors, or all of them where none is named. */
async function clustersOf(
  inspector: Inspector,
  values: readonly ValueName[],
  options: ClusterOptions,
): Promise<readonly Cluster[]> {
  const all = await inspector.clusters(options);
  if (values.length === 0) return all.list;
  const own = new Set(values.map((name) => all.of(name)));
  return all.list.filter((cluster) => own.has(cluster));
}

import { matmul, type Tensor, TopKError, tensor } from '@topk-attention/core';
import { readRows } from '../encoder/read-rows.js';
import { Interruption } from '../interruption.js';
import { requirePositive } from '../require-positive.js';
import type { TextTokenizer } from '../text/tokenizer.js';
import { sphericalKMeans, unit as unitOf } from './k-means.js';
import type { ClusterOptions } from './options.js';
import type { InspectedStack } from './stack.js';
import { checkValueName, type ValueName } from './value-name.js';
import { type TokenLogit, topTokens } from './vocabulary.js';

/** Value vectors of like direction. */
export interface Cluster {
  readonly id: number;
  /** The nearest to the center first. */
  readonly members: readonly ValueName[];
  /** What the center, a vector of length 1, promotes. */
  readonly tokens: readonly TokenLogit[];
}

/** All value vectors of a stack in groups. */
export class Clusters {
  readonly list: readonly Cluster[];
  readonly #units: number;
  readonly #layers: number;
  readonly #of = new Map<string, Cluster>();

  /** @internal Use `inspector.clusters()`. */
  constructor(list: readonly Cluster[], layers: number, units: number) {
    this.list = list;
    this.#layers = layers;
    this.#units = units;
    for (const cluster of list) {
      for (const { layer, unit } of cluster.members) this.#of.set(`${layer} ${unit}`, cluster);
    }
  }

  /** The cluster of a value vector; undefined for one of zeros. @throws TopKError INVALID_OPTION */
  of(name: ValueName): Cluster | undefined {
    checkValueName('clusters', name, this.#layers, this.#units);
    return this.#of.get(`${name.layer} ${name.unit}`);
  }
}

/** @throws TopKError INVALID_OPTION, ABORTED, NAN_FOUND */
export async function clusterValues(
  { weights, output }: InspectedStack,
  tokenizer: TextTokenizer | undefined,
  { count, seed = 0, passes = 20, topTokens: tokenCount = 10, signal }: ClusterOptions,
): Promise<Clusters> {
  for (const [name, value] of Object.entries({ count, passes, topTokens: tokenCount }))
    requirePositive('clusters', name, value);
  const interruption = new Interruption('clusters', signal);
  const names: ValueName[] = [];
  const rows: Float64Array[] = [];
  for (const [layer, { wOut }] of weights.entries()) {
    for (const [unit, row] of (await readRows('clusters', wOut.alias())).entries()) {
      const direction = unitOf(row);
      if (direction === undefined) continue;
      names.push({ layer, unit });
      rows.push(direction);
    }
  }
  if (count > rows.length) {
    throw new TopKError('INVALID_OPTION', 'clusters: more clusters than value vectors', {
      expected: `a count of at most ${rows.length}`,
      got: String(count),
    });
  }
  const { groups, centers, cosines } = await sphericalKMeans(rows, count, seed, passes, interruption);
  const members = centers.map((): number[] => []);
  for (const [at, group] of groups.entries()) members[group]?.push(at);
  const list: Cluster[] = [];
  for (const [id, own] of members.entries()) {
    const nearest = own.sort((a, b) => (cosines[b] as number) - (cosines[a] as number) || a - b);
    const logits = await projected(centers[id] as Float64Array, output);
    list.push({
      id,
      members: nearest.map((at) => names[at] as ValueName),
      tokens: topTokens(tokenizer, logits, tokenCount),
    });
    await interruption.yieldToEvents();
  }
  return new Clusters(list, weights.length, weights[0]?.wOut.shape[0] as number);
}

async function projected(center: Float64Array, output: Tensor): Promise<Float64Array> {
  const row = tensor(output.backend, center, [1, center.length], output.dtype);
  try {
    const product = matmul(row, output, { transposeB: true });
    return (await readRows('clusters', product))[0] as Float64Array;
  } finally {
    row.dispose();
  }
}

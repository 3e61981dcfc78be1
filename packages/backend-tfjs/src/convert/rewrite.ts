import { convertAttention, isAttention } from './attention-layer.js';
import { isDense, isHiddenLayer, joinPair, whyNoPair } from './dense-pair.js';
import type { ConvertOptions } from './options.js';
import type { ConversionReport, ConvertedLayer, LeftLayer } from './report.js';
import {
  isContainer,
  isObject,
  type Json,
  type JsonObject,
  listOf,
  readLayer,
  readReference,
  type SavedLayer,
} from './saved-model.js';

/** A feed-forward layer and the two dense layers that provide its weights, in this order. */
export interface JoinedLayer {
  /** Names of the nested models that enclose it. */
  readonly path: readonly string[];
  readonly name: string;
  readonly from: readonly [first: string, second: string];
}

export interface Rewritten {
  readonly topology: JsonObject;
  readonly joined: readonly JoinedLayer[];
  readonly report: ConversionReport;
}

/** Rewrites the saved topology of a model; the rest of a conversion follows from it. */
export function rewriteTopology(topology: JsonObject, options: ConvertOptions): Rewritten {
  const rewriter = new Rewriter(options);
  // A model saved as a whole holds the topology inside.
  const { model_config: inner } = topology;
  const rewritten = isObject(inner)
    ? { ...topology, model_config: rewriter.model(readLayer(inner), []) }
    : { ...topology, ...rewriter.model(readLayer(topology), []) };
  const { converted, left, joined } = rewriter;
  return { topology: rewritten, joined, report: { converted, left } };
}

class Rewriter {
  readonly converted: ConvertedLayer[] = [];
  readonly left: LeftLayer[] = [];
  readonly joined: JoinedLayer[] = [];
  readonly #options: ConvertOptions;

  constructor(options: ConvertOptions) {
    this.#options = options;
  }

  /** Rewrites a model, outermost or nested: `path` names the models that enclose its layers. */
  model(model: SavedLayer, path: readonly string[]): JsonObject {
    const layers = listOf(model.config.layers).map(readLayer);
    const rewritten =
      model.className === 'Sequential'
        ? this.#sequential(layers, path)
        : this.#functional(layers, listOf(model.config.output_layers), path);
    return { ...model.saved, config: { ...model.config, layers: rewritten } };
  }

  #sequential(layers: readonly SavedLayer[], path: readonly string[]): Json[] {
    const made: Json[] = [];
    for (let at = 0; at < layers.length; at++) {
      const [layer, next, afterNext] = layers.slice(at, at + 3) as [SavedLayer, SavedLayer?, SavedLayer?];
      const pair = next && this.#pair(layer, next, afterNext, path);
      made.push(pair ?? this.#alone(layer, path));
      if (pair !== undefined) at++;
    }
    return made;
  }

  #functional(layers: readonly SavedLayer[], outputs: readonly Json[], path: readonly string[]): Json[] {
    const users = usersOf(layers);
    const isOutput = new Set(outputs.map((one) => readReference(one)?.layer));
    const gone = new Set<string>();
    const pairs = new Map<string, JsonObject>();
    for (const layer of layers) {
      const followers = users.get(layer.name) ?? [];
      const [next] = followers.filter(isDense);
      const [only, ...others] = followers;
      if (next === undefined) {
        const [afterOnly] = (only && users.get(only.name)) ?? [];
        if (only && others.length === 0) this.#pair(layer, only, afterOnly, path);
        continue;
      }
      const isShared = (layer.nodes?.length ?? 0) > 1 || (next.nodes?.length ?? 0) > 1;
      const whyNot = isShared
        ? 'one of the two is applied more than once'
        : others.length > 0 || isOutput.has(layer.name)
          ? 'the hidden units are used elsewhere'
          : undefined;
      if (whyNot !== undefined) {
        if (isHiddenLayer(layer)) this.#leave([layer, next], whyNot, path, this.#options.feedForward);
        continue;
      }
      const pair = this.#pair(layer, next, undefined, path);
      if (pair === undefined) continue;
      gone.add(layer.name);
      pairs.set(next.name, pair);
    }
    return layers
      .filter(({ name }) => !gone.has(name))
      .map((layer) => pairs.get(layer.name) ?? this.#alone(layer, path));
  }

  /** The feed-forward layer made from `layer` and `next`, or undefined if they are not such a pair. */
  #pair(
    layer: SavedLayer,
    next: SavedLayer,
    afterNext: SavedLayer | undefined,
    path: readonly string[],
  ): JsonObject | undefined {
    const { feedForward } = this.#options;
    if (feedForward === undefined || !isHiddenLayer(layer)) return undefined;
    if (!isDense(next)) {
      if (afterNext && isDense(afterNext) && next.className === 'Dropout') {
        this.#leave([layer, afterNext], 'a Dropout layer lies between them', path, feedForward);
      }
      return undefined;
    }
    const whyNot = whyNoPair(layer, next);
    if (whyNot !== undefined) {
      this.#leave([layer, next], whyNot, path, feedForward);
      return undefined;
    }
    this.joined.push({ path, name: next.name, from: [layer.name, next.name] });
    this.converted.push({
      into: 'TopKFeedForward',
      name: nameIn(path, next),
      from: [nameIn(path, layer), nameIn(path, next)],
      k: feedForward.k,
    });
    return joinPair(layer, next, feedForward);
  }

  /** A layer that is not in a pair. */
  #alone(layer: SavedLayer, path: readonly string[]): Json {
    if (isContainer(layer)) return this.model(layer, [...path, layer.name]);
    const { attention } = this.#options;
    if (attention === undefined || !isAttention(layer)) return layer.saved;
    const made = convertAttention(layer, attention);
    if (typeof made === 'string') {
      this.#leave([layer], made, path, attention);
      return layer.saved;
    }
    const name = nameIn(path, layer);
    this.converted.push({ into: 'TopKMultiHeadAttention', name, from: [name], k: attention.k });
    return made;
  }

  #leave(
    layers: readonly SavedLayer[],
    why: string,
    path: readonly string[],
    wanted: object | undefined,
  ): void {
    if (wanted !== undefined) this.left.push({ layers: layers.map((one) => nameIn(path, one)), why });
  }
}

/** For each layer, the layers that take an output of it, once per use. */
function usersOf(layers: readonly SavedLayer[]): ReadonlyMap<string, readonly SavedLayer[]> {
  const users = new Map<string, SavedLayer[]>();
  for (const layer of layers) {
    for (const reference of (layer.nodes ?? []).flat()) {
      const keyword = Object.values(reference.kwargs).map(readReference);
      for (const one of [reference, ...keyword]) {
        if (one !== undefined) users.set(one.layer, [...(users.get(one.layer) ?? []), layer]);
      }
    }
  }
  return users;
}

function nameIn(path: readonly string[], { name }: SavedLayer): string {
  return [...path, name].join('/');
}

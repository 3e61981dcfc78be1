import type { FeedForwardInputs, FeedForwardRequest, FusedOperation } from '@topk-attention/core';
import {
  compileTokens,
  type FeedForwardVariant,
  graphInputs,
  keyOf,
} from '../emit/feed-forward/token-graph.js';
import type { Graph } from '../graph/graph.js';
import type { OnnxNode } from '../graph/node.js';
import { areAllFinite, type Magnitude, Magnitudes } from '../runtime/inspect.js';
import { JoinedRows } from '../runtime/joined-rows.js';
import type { OrtTensor } from '../runtime/ort.js';
import type { Sessions } from '../runtime/sessions.js';
import { areUnitsTame } from './tame-units.js';

/** A feed-forward layer as one node of the lazy graph, run as a loop over chunks of tokens. */
export function fusedFeedForward(
  graph: Graph,
  sessions: Sessions,
): FusedOperation<FeedForwardRequest, FeedForwardInputs<OnnxNode>, { readonly output: OnnxNode }> {
  const magnitudes = new Magnitudes();

  /** What the values of a call allow its graph to leave out. */
  const rangesOf = (
    request: FeedForwardRequest,
    feeds: ReadonlyMap<string, OrtTensor>,
  ): Pick<FeedForwardVariant, 'isCareful' | 'areOutputsFinite'> => {
    // Without a selection nothing is hidden: one graph does for all values.
    if (request.k === 'all') return { isCareful: false, areOutputsFinite: true };
    const found = new Map<string, Magnitude>();
    for (const [role, tensor] of feeds) found.set(role, magnitudes.of(tensor, graph.isBorrowed(tensor)));
    return {
      isCareful: !areUnitsTame(request, found),
      areOutputsFinite: areAllFinite(found.get('wOut') as Magnitude),
    };
  };

  const runTokens = async (
    request: FeedForwardRequest,
    feeds: ReadonlyMap<string, OrtTensor>,
    tokenChunk: number,
  ): Promise<readonly OrtTensor[]> => {
    const { tokens, outputDim } = request;
    const chunk = Math.min(tokenChunk, tokens);
    const variant: FeedForwardVariant = { request, chunk, ...rangesOf(request, feeds) };
    const names = graphInputs(variant).map(({ name }) => name);
    const session = {
      key: keyOf(variant),
      compile: () => compileTokens(variant),
      arenaBytes: scratchBytes(request, chunk),
    };
    let joined: JoinedRows | undefined;
    for (let index = 0; index * chunk < tokens; index++) {
      // The last chunk overlaps the one before it, so that all share one session.
      const start = Math.min(index * chunk, tokens - chunk);
      const bounds = new Map([
        ['start', graph.parameter([start])],
        ['end', graph.parameter([start + chunk])],
      ]);
      const inputs = names.map((name) => bounds.get(name) ?? (feeds.get(name) as OrtTensor));
      const results = await sessions.run(session, inputs);
      if (chunk === tokens) return results;
      const part = results[0] as OrtTensor;
      joined ??= new JoinedRows(part, 1, tokens, outputDim);
      joined.put(part, start, chunk);
    }
    return joined === undefined ? [] : [joined.tensor(graph.ort, [tokens, outputDim])];
  };

  return {
    refuses: ({ dtype }) => (dtype === 'f32' ? [] : [`dtype ${dtype}: the graph computes in f32`]),
    scratchBytes,
    largestBytes: ({ hidden, outputDim, k, second }, chunk) =>
      4 * chunk * Math.max(hidden, k !== 'all' && second === 'gather' ? k * outputDim : 0),
    run: (request, inputs, chunk) => {
      const present = Object.entries({
        x: inputs.x,
        wIn: inputs.wIn,
        bIn: inputs.bIn,
        wGate: inputs.wGate,
        wOut: inputs.wOut,
        bOut: inputs.bOut,
      }).flatMap(([role, node]) => (node === undefined ? [] : [{ role, node }]));
      const execute = (values: readonly OrtTensor[]): Promise<readonly OrtTensor[]> =>
        runTokens(
          request,
          new Map(present.map(({ role }, index) => [role, values[index] as OrtTensor])),
          chunk,
        );
      const [output] = graph.attach({ inputs: present.map(({ node }) => node), outputs: [], execute }, [
        { shape: [request.tokens, request.outputDim], dtype: 'f32' },
      ]);
      return { output: output as OnnxNode };
    },
  };
}

/** Transient bytes of a chunk of tokens: hidden units (pre-activations, activations, gate), selection, second product. */
function scratchBytes(request: FeedForwardRequest, chunk: number): number {
  const { inputDim, hidden, outputDim, k, gated, select, second } = request;
  const wide = chunk * hidden * 4;
  const ends = chunk * (inputDim + outputDim) * 4;
  const layers = gated ? 3 : 2;
  if (k === 'all') return layers * wide + ends;
  const ranking = select === 'contribution' ? wide : 0;
  // Dense: three flags of a byte, and the kept activations.
  const product = second === 'gather' ? chunk * k * (outputDim + 2) * 4 : wide + (3 * wide) / 4;
  return layers * wide + ranking + chunk * k * 16 + product + ends;
}

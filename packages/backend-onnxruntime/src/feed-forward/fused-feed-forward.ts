import {
  type ChosenFeedForward,
  chooseFeedForward,
  describeSelection,
  entriesOf,
  type FeedForwardInputs,
  type FeedForwardRequest,
  type FusedOperation,
} from '@topk-attention/core/backend';
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

  /** What a call's values allow its graph to leave out. */
  const rangesOf = (
    request: ChosenFeedForward,
    feeds: ReadonlyMap<string, OrtTensor>,
  ): Pick<FeedForwardVariant, 'isCareful' | 'areOutputsFinite'> => {
    // Without a selection nothing is hidden: one graph handles all values.
    if (request.k === 'all') return { isCareful: false, areOutputsFinite: true };
    const found = new Map<string, Magnitude>();
    for (const [role, tensor] of feeds) found.set(role, magnitudes.of(tensor, graph.isBorrowed(tensor)));
    return {
      isCareful: !areUnitsTame(request, found),
      areOutputsFinite: areAllFinite(found.get('wOut') as Magnitude),
    };
  };

  const runTokens = async (
    request: ChosenFeedForward,
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
    prepare(asked, limits) {
      if (asked.dtype !== 'f32') {
        return { refusals: [`dtype ${asked.dtype}: the graph computes in f32`] };
      }
      if (asked.saves === true) return { refusals: ['training: the graph returns no lists of kept units'] };
      const request = chooseFeedForward(asked, limits);
      const { hidden, outputDim, k, second, selection } = request;
      return {
        scratchBytes: (chunk) => scratchBytes(request, chunk),
        largestBytes: (chunk) =>
          4 * chunk * Math.max(hidden, k !== 'all' && second === 'gather' ? k * outputDim : 0),
        describe: () => ({
          variant: 'one graph per token chunk',
          selection: k === 'all' ? 'all units' : describeSelection(selection),
          second: `${second} product`,
        }),
        run: (inputs, chunk) => ({ output: attach(request, inputs, chunk) }),
      };
    },
  };

  /** The call as a node of the graph, which runs when its result is asked for. */
  function attach(request: ChosenFeedForward, inputs: FeedForwardInputs<OnnxNode>, chunk: number): OnnxNode {
    const present = entriesOf<OnnxNode>(inputs);
    const execute = (values: readonly OrtTensor[]): Promise<readonly OrtTensor[]> =>
      runTokens(request, new Map(present.map(([role], index) => [role, values[index] as OrtTensor])), chunk);
    const [output] = graph.attach({ inputs: present.map(([, node]) => node), outputs: [], execute }, [
      { shape: [request.tokens, request.outputDim], dtype: 'f32' },
    ]);
    return output as OnnxNode;
  }
}

/** Transient bytes of a chunk of tokens: hidden units (pre-activations, activations, gate), selection, second product. */
function scratchBytes(request: ChosenFeedForward, chunk: number): number {
  const { inputDim, hidden, outputDim, k, gated, select, second } = request;
  const wide = chunk * hidden * 4;
  const ends = chunk * (inputDim + outputDim) * 4;
  const layers = gated ? 3 : 2;
  if (k === 'all') return layers * wide + ends;
  const ranking = select === 'contribution' ? wide : 0;
  // Dense: three one-byte flags, and the kept activations.
  const product = second === 'gather' ? chunk * k * (outputDim + 2) * 4 : wide + (3 * wide) / 4;
  return layers * wide + ranking + chunk * k * 16 + product + ends;
}

import { subgraphsOf } from '../../onnx/attributes.js';
import type { GraphProto, ModelProto, NodeProto } from '../../onnx/messages.js';
import { Evaluation } from './evaluate.js';
import type { Known } from './known.js';
import type { Extents } from './symbols.js';

/** What a run showed of values, by name. */
export type Observed = ReadonlyMap<string, Known>;

/** What is known of the values of a model, under one choice of its open extents. */
export interface View {
  known(graph: GraphProto, name: string): Known | undefined;
  reason(graph: GraphProto, name: string): string;
  values(): ReturnType<Evaluation['values']>;
  /** The choice itself, with extents tied as they are in a graph. */
  extents(graph: GraphProto): Extents;
}

/** An evaluation for each choice. */
interface World {
  readonly choices: readonly Extents[];
  readonly evaluations: readonly Evaluation[];
}

/** Bounds for hostile files. Exporters' files take 1 to 4 turns; each ties all extents that meet in it. */
const MOST_TURNS = 24;
/** An extent may be tied to one that is tied to a third later, but not in circles. */
const MOST_TIES = 2;

/**
 * Evaluates a model under several choices of its open extents, and ties extents that have two names in the file and meet in
 * an operator that takes them at one value only: exporters name the length of a mask and that of the keys apart. In the
 * branches of an `If` they may be tied in different ways, as in decoders with and without a past, so each branch has
 * its own.
 *
 * @param choices Two or more; extents are told apart by their values under the first two.
 * @param isOpen Whether the extent of a name may be tied.
 * @param observed What runs under the first of the choices showed.
 * @returns A view for each choice.
 */
export function settle(
  model: ModelProto,
  choices: readonly Extents[],
  isOpen: (name: string) => boolean,
  observed: readonly Observed[] = [],
): readonly View[] {
  let turns = 0;
  const settled = (from: World, graphs: ReadonlySet<GraphProto>): World => {
    const ties = new Map<string, number>();
    const isFree = (name: string): boolean => isOpen(name) && (ties.get(name) ?? 0) < MOST_TIES;
    let world = from;
    for (; turns < MOST_TURNS; turns++) {
      const next = tied(world, graphs, isFree);
      if (next === undefined) break;
      for (const [name, extent] of next[0] as Extents)
        if (extent !== world.choices[0]?.get(name)) ties.set(name, (ties.get(name) ?? 0) + 1);
      world = evaluated(model, next, observed);
    }
    return world;
  };
  const graph = model.graph as GraphProto;
  const branches = branchesOf(graph);
  const trunk = settled(
    evaluated(model, choices, observed),
    new Set(graphsOf(graph).filter((one) => !branches.has(one))),
  );
  const worlds = new Map<GraphProto, World>();
  for (const branch of new Set(branches.values())) {
    const inner = new Set(graphsOf(branch));
    const world = settled(trunk, inner);
    if (world !== trunk) for (const one of inner) worlds.set(one, world);
  }
  return choices.map((_, choice): View => {
    const worldOf = (one: GraphProto): World => worlds.get(one) ?? trunk;
    const of = (one: GraphProto): Evaluation => worldOf(one).evaluations[choice] as Evaluation;
    return {
      known: (one, name) => of(one).known(one, name),
      reason: (one, name) => of(one).reason(one, name),
      *values() {
        for (const world of new Set([trunk, ...worlds.values()])) {
          for (const value of (world.evaluations[choice] as Evaluation).values()) {
            if (worldOf(value.graph) === world) yield value;
          }
        }
      },
      extents: (one) => worldOf(one).choices[choice] as Extents,
    };
  });
}

function evaluated(model: ModelProto, choices: readonly Extents[], observed: readonly Observed[]): World {
  const evaluations = choices.map((extents, choice) => new Evaluation(model, extents, observed[choice]));
  return { choices, evaluations };
}

/** The choices with extents tied that meet in these graphs; undefined if none can be. */
function tied(
  { choices, evaluations }: World,
  graphs: ReadonlySet<GraphProto>,
  isFree: (name: string) => boolean,
): readonly Extents[] | undefined {
  const [first, ...others] = evaluations.map(({ conflicts }) => conflicts);
  const changed = choices.map((extents) => new Map(extents));
  const done = new Set<string>();
  for (const [node, { graph, extents }] of first as Conflicts) {
    const again = others.map((conflicts) => conflicts.get(node)?.extents);
    if (!graphs.has(graph) || again[0] === undefined) continue;
    for (const side of [0, 1] as const) {
      const [one, two] = [extents[side], again[0][side]];
      // What has the same extent under every choice is no length: a file that names its only size differently.
      if (extents[1 - side] === again[0][1 - side]) continue;
      const name = [...(choices[0] as Extents).keys()].find(
        (symbol) => choices[0]?.get(symbol) === one && choices[1]?.get(symbol) === two,
      );
      if (name === undefined || done.has(name) || !isFree(name)) continue;
      done.add(name);
      for (const [choice, met] of [extents, ...again].entries()) {
        if (met !== undefined) changed[choice]?.set(name, met[1 - side] as number);
      }
      break;
    }
  }
  return done.size > 0 ? changed : undefined;
}

type Conflicts = Evaluation['conflicts'];

function graphsOf(graph: GraphProto): readonly GraphProto[] {
  const graphs = [graph];
  // The list grows on the way.
  for (const one of graphs) for (const node of one.node) graphs.push(...subgraphsOf(node));
  return graphs;
}

/** The outermost branch that a graph is in, for graphs in branches. */
function branchesOf(graph: GraphProto): ReadonlyMap<GraphProto, GraphProto> {
  const branches = new Map<GraphProto, GraphProto>();
  for (const one of graphsOf(graph)) {
    const around = branches.get(one);
    for (const node of one.node) {
      for (const inner of subgraphsOf(node)) {
        if (around !== undefined) branches.set(inner, around);
        else if (isChoice(node)) branches.set(inner, inner);
      }
    }
  }
  return branches;
}

function isChoice({ opType }: NodeProto): boolean {
  return opType === 'If';
}

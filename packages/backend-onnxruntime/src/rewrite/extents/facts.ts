import type { NodeProto } from '../../onnx/messages.js';
import { intOf, intsOf, textOf } from '../graph/attributes.js';
import { type Known, Unknown } from './known.js';

/** A node with what is known of its inputs. The methods throw `Unknown` for what is not. */
export class Facts {
  readonly node: NodeProto;
  readonly #inputs: readonly (Known | undefined)[];

  constructor(node: NodeProto, inputs: readonly (Known | undefined)[]) {
    this.node = node;
    this.#inputs = inputs;
  }

  get inputs(): readonly Known[] {
    return this.node.input.map((_, at) => this.input(at));
  }

  has(at: number): boolean {
    return (this.node.input[at] ?? '') !== '';
  }

  input(at: number): Known {
    const known = this.#inputs[at];
    if (known === undefined) throw new Unknown(`input ${this.node.input[at] ?? at} is not known`);
    return known;
  }

  values(at: number): readonly number[] {
    const { values } = this.input(at);
    if (values === undefined) throw new Unknown(`the values of ${this.node.input[at]} are not known`);
    return values;
  }

  /** Axes or extents, which older versions of an operator have as an attribute and later ones as an input. */
  list(name: string, at: number): readonly number[] | undefined {
    return intsOf(this.node, name) ?? (this.has(at) ? this.values(at) : undefined);
  }

  int(name: string, standard: number): number {
    return intOf(this.node, name) ?? standard;
  }

  ints(name: string): readonly number[] | undefined {
    return intsOf(this.node, name);
  }

  text(name: string, standard: string): string {
    return textOf(this.node, name) ?? standard;
  }
}

/** What is known of a node's outputs. */
export type Rule = (facts: Facts) => readonly (Known | undefined)[];
export type Rules = { readonly [operator: string]: Rule };

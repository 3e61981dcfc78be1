/** Slots of the edge table per node: open addressing is fast while at least half the table is free. */
const SLOTS_PER_NODE = 2;

/** The root of the trie. */
export const ROOT = 0;

/**
 * A trie of the pieces of a vocabulary. Its edges are in one flat table, by node and UTF-16 code unit: a vocabulary has
 * hundreds of thousands of them, and a text takes several steps per character.
 */
export class PieceTrie {
  readonly #mask: number;
  /** Node that an edge leaves, plus 1; 0 where the slot is free. */
  readonly #from: Int32Array;
  readonly #unit: Uint16Array;
  readonly #to: Int32Array;
  /** Number of the piece that ends at a node, or -1. */
  readonly #piece: Int32Array;

  /** @param pieces if several are equal, the last one wins */
  constructor(pieces: readonly string[]) {
    const nodes = countNodes(pieces);
    const slots = 2 ** Math.ceil(Math.log2(Math.max(2, nodes * SLOTS_PER_NODE)));
    this.#mask = slots - 1;
    this.#from = new Int32Array(slots);
    this.#unit = new Uint16Array(slots);
    this.#to = new Int32Array(slots);
    this.#piece = new Int32Array(nodes).fill(-1);
    let made = 1;
    for (const [index, piece] of pieces.entries()) {
      let node = ROOT;
      for (let at = 0; at < piece.length; at++) {
        const unit = piece.charCodeAt(at);
        const slot = this.#slot(node, unit);
        if (this.#from[slot] === 0) {
          this.#from[slot] = node + 1;
          this.#unit[slot] = unit;
          this.#to[slot] = made++;
        }
        node = this.#to[slot] as number;
      }
      this.#piece[node] = index;
    }
  }

  /** The node after one more code unit, or -1. */
  step(node: number, unit: number): number {
    const slot = this.#slot(node, unit);
    return this.#from[slot] === 0 ? -1 : (this.#to[slot] as number);
  }

  /** Number of the piece that ends at the node, or -1. */
  pieceAt(node: number): number {
    return this.#piece[node] as number;
  }

  /** The slot of an edge, or the free slot where it would be stored. */
  #slot(node: number, unit: number): number {
    const hash = Math.imul(node ^ Math.imul(unit, 0x9e3779b1), 0x85ebca6b);
    let slot = (hash ^ (hash >>> 15)) & this.#mask;
    while (this.#from[slot] !== 0 && (this.#from[slot] !== node + 1 || this.#unit[slot] !== unit)) {
      slot = (slot + 1) & this.#mask;
    }
    return slot;
  }
}

/** Number of nodes: in sorted order each piece adds one per code unit after the prefix that it shares with its predecessor. */
function countNodes(pieces: readonly string[]): number {
  let nodes = 1;
  let before = '';
  for (const piece of [...pieces].sort()) {
    let shared = 0;
    while (shared < before.length && before.charCodeAt(shared) === piece.charCodeAt(shared)) shared++;
    nodes += piece.length - shared;
    before = piece;
  }
  return nodes;
}

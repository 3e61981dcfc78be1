/** A column of a table. */
export interface Column {
  readonly title: string;
  /** Default 'left'. */
  readonly align?: 'left' | 'right';
  /** In a terminal, longer cells are cut to this many characters, the last being an ellipsis. */
  readonly maxWidth?: number;
  /** Whether its cells name their rows. */
  readonly isHeading?: boolean;
}

/** Rows of text under titles: made once, shown in a terminal (`textTable`) and on a page (`htmlTable`). */
export interface Table {
  readonly columns: readonly Column[];
  /** A row may have fewer cells than there are columns: its last cell then spans the rest. */
  readonly rows: readonly (readonly string[])[];
}

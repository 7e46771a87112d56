/** What the user has to put right: the input, an option or a file beside it. `message` is shown as it is. */
export class ImportError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'ImportError';
  }
}

"""Entry point that the launcher of a flex template starts."""

from heterrec_pipeline.flex_template import main

if __name__ == "__main__":
    main()

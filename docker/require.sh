# For the entry points: `require NAME...` ends the script with one line unless each variable has a
# value that can stand in an address as it is.
require() {
    for name; do
        eval "value=\${$name:-}"
        case $value in
            '') echo "error: $name: is empty; set it in .env" >&2; exit 3 ;;
            *[!A-Za-z0-9._~-]*)
                echo "error: $name: has a character that no address may have; use letters, digits, . _ ~ -" >&2
                exit 3 ;;
        esac
    done
}
